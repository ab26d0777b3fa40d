// flags: -g -O0 -std=c++17 -pthread
// Keeps one of each of C++'s ways to hold memory, and loses a cycle of shared pointers and a map with its nodes.
// With an argument nothing is lost.
#include <cstring>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <unistd.h>
#include <unordered_map>
#include <vector>

struct First { virtual ~First() = default; long one[4] = {}; };
struct Second { virtual ~Second() = default; long two[4] = {}; };
// A pointer to its second base leads into its middle.
struct Both : First, Second { std::string name = std::string(100, 'b'); };

struct Partner {
    std::shared_ptr<Partner> other;
    std::string name = std::string(60, 'p');
};

using Table = std::unordered_map<int, std::string>;

static Second *second_base;
static Both *counted;
static std::vector<std::string> strings;
static Table table;
static std::map<std::string, std::vector<int>> tree;
static std::list<std::unique_ptr<First>> owners;
static std::function<long()> closure;
static std::weak_ptr<Partner> weak;

__attribute__((noinline)) static void keep()
{
    second_base = new Both;
    counted = new Both[3];
    for (int i = 0; i < 100; i++) {
        strings.push_back(std::string(static_cast<size_t>(i), 's'));
        table[i] = std::string(50, 't');
        tree[std::string(30, static_cast<char>('a' + i % 26))].push_back(i);
        owners.push_back(std::make_unique<First>());
    }
    auto shared = std::make_shared<std::vector<long>>(1000);
    closure = [shared, a = 1L, b = 2L, c = 3L] { return shared->at(0) + a + b + c; };
    // The object is gone, its block lives as long as somebody asks for it.
    weak = std::make_shared<Partner>();
}

__attribute__((noinline)) static void lose_partners(bool is_twin)
{
    auto one = std::make_shared<Partner>();
    auto two = std::make_shared<Partner>();
    one->other = two;
    if (!is_twin)
        two->other = one;
}

__attribute__((noinline)) static void lose_table(bool is_twin)
{
    auto lost = new Table;
    for (int i = 0; i < 10; i++)
        (*lost)[i] = std::string(50, 'l');
    if (is_twin)
        delete lost;
}

__attribute__((noinline)) static void scrub()
{
    volatile char stack[16384];
    memset(const_cast<char *>(stack), 0, sizeof stack);
    __asm__ volatile("xor %%ebx, %%ebx; xor %%r12d, %%r12d; xor %%r13d, %%r13d; xor %%r14d, %%r14d; xor %%r15d, %%r15d"
                     ::: "rbx", "r12", "r13", "r14", "r15");
}

int main(int count, char **)
{
    keep();
    lose_partners(count > 1);
    lose_table(count > 1);
    scrub();
    if (write(1, "ready\n", 6) != 6)
        return 3;
    for (;;)
        pause();
}
