/*
 * Types of C++ for ::print: base classes (virtual ones too), nested classes, scoped enums, static members, references,
 * strings; and variables in namespaces.
 */
#include <string>
#include <unistd.h>

namespace app {

struct Base {
    int id = 7;
    virtual ~Base() = default;
};

class Session : public Base {
public:
    enum class Kind : unsigned char { first, second };
    struct Inner {
        double ratio = 2.5;
    };
    struct Empty {};

    std::string name = "hello";
    Kind kind = Kind::second;
    static int count;
    Session *next = nullptr;
    char32_t letter = U'x';
    Inner inner;
    Empty empty;
    bool open = true;
};

int Session::count = 3;

struct Root {
    int id = 11;
    virtual ~Root() = default;
};
struct Left : virtual Root {
    int left = 12;
};
struct Right : virtual Root {
    int right = 13;
};
struct Both : Left, Right {
    int both = 14;
};

Both *diamond;
static Session last;

} // namespace app

app::Session *head;

int main()
{
    head = new app::Session;
    head->next = new app::Session;
    head->next->id = -8;
    app::last.id = 21;
    app::diamond = new app::Both;
    if (write(1, "ready\n", 6) != 6)
        return 1;
    pause();
    return 0;
}
