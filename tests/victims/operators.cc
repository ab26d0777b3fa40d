/*
 * operator new and delete in all forms. Compiled twice: with REPLACED the program has basic forms of its own, which the
 * derived ones must call.
 */
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <initializer_list>
#include <new>

#ifdef REPLACED
static int news, deletes, aligned_news, aligned_deletes;

void *operator new(std::size_t size)
{
    news++;
    if (void *buffer = std::malloc(size))
        return buffer;
    throw std::bad_alloc();
}
void operator delete(void *buffer) noexcept
{
    deletes += buffer != nullptr;
    std::free(buffer);
}
void *operator new(std::size_t size, std::align_val_t align)
{
    aligned_news++;
    if (void *buffer = std::aligned_alloc(std::size_t(align), (size + std::size_t(align) - 1) & ~(std::size_t(align) - 1)))
        return buffer;
    throw std::bad_alloc();
}
void operator delete(void *buffer, std::align_val_t) noexcept
{
    aligned_deletes += buffer != nullptr;
    std::free(buffer);
}
#endif

static void check(bool holds, const char *what)
{
    if (holds)
        return;
    std::printf("%s\n", what);
    std::_Exit(1);
}

/* The compiler must neither fold nor judge what is asked for. */
static void *volatile kept;
static volatile std::size_t hundred = 100, huge = PTRDIFF_MAX / 2;
static constexpr std::align_val_t line{64};

static void all_forms()
{
    void *one = ::operator new(hundred);
    void *two = ::operator new[](hundred);
    void *three = ::operator new(hundred, std::nothrow);
    void *four = ::operator new[](hundred, std::nothrow);
    check(one && two && three && four, "no memory");
    ::operator delete(one);
    ::operator delete[](two);
    ::operator delete(three, std::nothrow);
    ::operator delete[](four, std::nothrow);
    ::operator delete(::operator new(hundred), hundred);
    ::operator delete[](::operator new[](hundred), hundred);
    one = ::operator new(hundred, line);
    two = ::operator new[](hundred, line);
    three = ::operator new(hundred, line, std::nothrow);
    four = ::operator new[](hundred, line, std::nothrow);
    for (void *buffer : {one, two, three, four})
        check(buffer && reinterpret_cast<std::uintptr_t>(buffer) % 64 == 0, "alignment");
    ::operator delete(one, line);
    ::operator delete[](two, line);
    ::operator delete(three, line, std::nothrow);
    ::operator delete[](four, line, std::nothrow);
    ::operator delete(::operator new(hundred, line), hundred, line);
    ::operator delete[](::operator new[](hundred, line), hundred, line);
    ::operator delete(nullptr);
    ::operator delete[](nullptr);
}

#ifndef REPLACED
static int handled;

static void handler()
{
    /* As a handler that finds something to free twice, and then gives up. */
    if (++handled % 3 == 0)
        throw std::bad_alloc();
}
#endif

struct Guard {
    bool &unwound;
    ~Guard() { unwound = true; }
};

template <class Allocate> static void expect_throw(Allocate allocate, const char *what)
{
    bool unwound = false, caught = false;
    try {
        Guard guard{unwound};
        allocate();
    } catch (const std::bad_alloc &) {
        caught = true;
    }
    check(unwound && caught, what);
}

static void out_of_memory()
{
    expect_throw([] { kept = ::operator new(huge); }, "new does not throw");
    expect_throw([] { kept = ::operator new[](huge); }, "new[] does not throw");
    expect_throw([] { kept = ::operator new(huge, line); }, "aligned new does not throw");
    expect_throw([] { kept = ::operator new[](huge, line); }, "aligned new[] does not throw");
    check(!::operator new(huge, std::nothrow) && !::operator new[](huge, std::nothrow), "nothrow");
    check(!::operator new(huge, line, std::nothrow) && !::operator new[](huge, line, std::nothrow), "aligned nothrow");
}

int main()
{
    all_forms();
#ifdef REPLACED
    check(news == 6 && deletes == 6, "a derived form does not call the program's");
    check(aligned_news == 6 && aligned_deletes == 6, "a derived aligned form does not call the program's");
    out_of_memory();
#else
    out_of_memory();
    std::set_new_handler(handler);
    out_of_memory();
    check(handled == 8 * 3, "the new-handler is not called by all forms");
#endif
    std::puts("ok");
}
