// flags: -g -O1 -std=c++17 -fsized-deallocation -Wno-non-virtual-dtor
/*
 * Deletes that tell operator delete a size. Without an argument they are all right: that of the object which was made, whatever
 * pointer it is deleted by. "base" deletes an object by a pointer to its base, which has no virtual destructor; "other" as an
 * object of another type.
 */
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

struct Base { long one = 1; };
struct Derived : Base { long more[5] = {}; };
struct Other { char bytes[200]; };

struct Shape { virtual ~Shape() = default; long side = 1; };
struct Named : virtual Shape { std::string name = "a name that is too long to be kept inside"; };
struct Square : Named { long corners[4] = {}; };

struct Counted { long value = 0; ~Counted() { value = 1; } };
struct alignas(128) Wide { char bytes[300]; ~Wide() { bytes[0] = 1; } };
struct Empty {};

template <class T> static void one_and_many()
{
    delete new T;
    for (int count : {0, 1, 7, 5000})
        delete[] new T[count];
}

static void right()
{
    one_and_many<Base>();
    one_and_many<Derived>();
    one_and_many<Counted>();
    one_and_many<Wide>();
    one_and_many<Empty>();
    one_and_many<Square>();
    Shape *shape = new Square;
    delete shape;
    delete static_cast<Empty *>(nullptr);
    std::vector<std::string> words;
    std::map<std::string, std::shared_ptr<Shape>> shapes;
    for (int i = 0; i < 2000; i++) {
        words.push_back("a word with a number: " + std::to_string(i * 7919 % 1000));
        shapes[words.back()] = std::make_shared<Square>();
    }
    std::stable_sort(words.begin(), words.end());
    std::function<int()> closure = [shapes, words] { return int(shapes.size() + words.size()); };
    std::printf("%d\n", closure());
    try {
        throw std::make_unique<Square>();
    } catch (const std::unique_ptr<Square> &) {
    }
}

__attribute__((noinline)) static void drop(Base *base) { delete base; }
__attribute__((noinline)) static void drop(Other *other) { delete other; }

int main(int argc, char **argv)
{
    right();
    if (argc > 1 && std::strcmp(argv[1], "base") == 0)
        drop(new Derived);
    if (argc > 1 && std::strcmp(argv[1], "other") == 0)
        drop(reinterpret_cast<Other *>(new Wide));
}
