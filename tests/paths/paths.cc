// Allocates at the ends of many chains of calls of C++: templates, lambdas, virtual functions, algorithms and containers of the
// standard library, destructors and handlers of exceptions, threads.
#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#define CALLED __attribute__((noinline, noclone))

volatile unsigned long sum;

static void onwards(unsigned way, int levels);

// ---- where chains end ----

CALLED static void take(unsigned way)
{
    delete[] new char[way % 300 + 1];
    auto owned = std::make_unique<std::vector<int>>(way % 20 + 1);
    sum += owned->size();
}

CALLED static void text(unsigned way)
{
    std::string longer(way % 40 + 20, 'x');
    longer += std::to_string(way) + " and some more";
    sum += longer.size();
}

CALLED static void tree(unsigned way)
{
    std::map<std::string, int> names;
    for (unsigned i = 0; i < way % 3 + 1; i++)
        names["a name that takes memory " + std::to_string(i)] = i;
    sum += names.size();
}

// ---- of what chains are made ----

struct Part {
    virtual ~Part() = default;
    virtual void go(unsigned way, int levels) = 0;
};

struct Plain : Part {
    CALLED void go(unsigned way, int levels) override
    {
        onwards(way, levels);
        sum++;
    }
};

struct alignas(64) Aligned : Part {
    char room[200] = {};
    CALLED void go(unsigned way, int levels) override
    {
        onwards(way, levels);
        sum += room[way % 200];
    }
};

struct OnDestruction {
    unsigned way;
    int levels;
    CALLED ~OnDestruction()
    {
        onwards(way, levels);
        sum++;
    }
};

CALLED static void fail(unsigned way)
{
    if (way % 2)
        throw std::runtime_error("a message that is too long to be kept in place");
    throw std::string("another message that is too long to be kept in place");
}

CALLED static void catch_it(unsigned way, int levels)
{
    try {
        OnDestruction guard{way, levels};
        fail(way);
    } catch (const std::exception &error) {
        onwards(way, levels);
        sum += error.what()[0];
    } catch (const std::string &error) {
        sum += error.size();
    }
}

template <typename Call> CALLED static void with(Call call)
{
    call();
    sum++;
}

CALLED static void lambda(unsigned way, int levels)
{
    with([&] { with([=] { onwards(way, levels); }); });
    sum++;
}

CALLED static void function(unsigned way, int levels)
{
    char room[64] = {};
    std::function<void(int)> call = [way, room](int levels) {
        onwards(way, levels);
        sum += room[way % 64];
    };
    call(levels);
}

CALLED static void sort(unsigned way, int levels)
{
    std::vector<int> numbers{3, 1, 2};
    bool is_done = false;
    std::sort(numbers.begin(), numbers.end(), [&](int a, int b) {
        if (!is_done) {
            is_done = true;
            onwards(way, levels);
        }
        return a < b;
    });
    sum += numbers[0];
}

CALLED static void part(unsigned way, int levels)
{
    std::unique_ptr<Part> made;
    if (way % 3)
        made = std::make_unique<Plain>();
    else
        made = std::make_unique<Aligned>();
    made->go(way, levels);
}

CALLED static void onwards(unsigned way, int levels)
{
    if (levels == 0) {
        (way % 3 == 0 ? take : way % 3 == 1 ? text : tree)(way);
    } else {
        static void (*const parts[])(unsigned, int) = {part, catch_it, lambda, function, sort};
        parts[way % 5](way / 5 * 3 + way % 7, levels - 1);
    }
    sum++;
}

extern "C" CALLED void begin(void)
{
    sum++;
}

extern "C" CALLED void done(void)
{
    sum++;
}

int main()
{
    begin();
    unsigned way = 12345;
    for (int i = 0; i < 24; i++) {
        way = way * 1664525 + 1013904223;
        onwards(way >> 4, 1 + i % 4);
    }
    for (int i = 0; i < 2; i++) {
        way = way * 1664525 + 1013904223;
        std::thread([way] { onwards(way >> 4, 3); }).join();
    }
    done();
}
