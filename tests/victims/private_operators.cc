/*
 * A library that has operators new and delete of its own inside (-static-libstdc++), and a program that has not. Each deletes what the
 * other one has made, which is right: all of them come down to malloc and free.
 */
#ifdef LIBRARY

#include <string>

struct made {
    std::string text;
    int numbers[40];
};

extern "C" made *make() { return new made{"a text that is too long to stand within a string", {1}}; }
extern "C" char *make_array() { return new char[100]; }
extern "C" void finish(made *old) { delete old; }
extern "C" void finish_array(char *old) { delete[] old; }

#else

#include <cstdio>
#include <string>

struct made {
    std::string text;
    int numbers[40];
};

extern "C" {
made *make();
char *make_array();
void finish(made *);
void finish_array(char *);
}

int main()
{
    for (int i = 0; i < 100; i++) {
        delete make();
        delete[] make_array();
        finish(new made{"another text that is too long to stand within a string", {2}});
        finish_array(new char[100]);
    }
    std::puts("ok");
}

#endif
