// flags: -g -O0
/*
 * Counts the words of its standard input. Prints the ten most frequent when two empty lines follow each other, and at the
 * end. It is a program as people write them, with two mistakes: grow() forgets the table that it replaces, and count()
 * forgets its copy of a word that is already known.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct entry {
    char *word;
    unsigned long count;
    struct entry *next;
};

struct table {
    struct entry **buckets;
    size_t size;
    size_t used;
};

static unsigned long hash(const char *word)
{
    unsigned long value = 5381;
    for (; *word; word++)
        value = value * 33 + (unsigned char)*word;
    return value;
}

static void grow(struct table *table)
{
    size_t size = table->size * 2;
    struct entry **buckets = calloc(size, sizeof *buckets);
    for (size_t i = 0; i < table->size; i++) {
        struct entry *next;
        for (struct entry *entry = table->buckets[i]; entry; entry = next) {
            next = entry->next;
            entry->next = buckets[hash(entry->word) % size];
            buckets[hash(entry->word) % size] = entry;
        }
    }
    /* The first mistake: free(table->buckets) is missing. */
    table->buckets = buckets;
    table->size = size;
}

static char *lower(const char *start, size_t length)
{
    char *word = strndup(start, length);
    for (size_t i = 0; i < length; i++)
        word[i] = tolower((unsigned char)word[i]);
    return word;
}

static void count(struct table *table, const char *start, size_t length)
{
    char *word = lower(start, length);
    struct entry *entry = table->buckets[hash(word) % table->size];
    while (entry && strcmp(entry->word, word) != 0)
        entry = entry->next;
    if (entry) {
        /* The second mistake: free(word) is missing. */
        entry->count++;
        return;
    }
    if (table->used++ > table->size)
        grow(table);
    entry = malloc(sizeof *entry);
    entry->word = word;
    entry->count = 1;
    entry->next = table->buckets[hash(word) % table->size];
    table->buckets[hash(word) % table->size] = entry;
}

static int by_count(const void *a, const void *b)
{
    const struct entry *left = *(struct entry *const *)a, *right = *(struct entry *const *)b;
    if (left->count != right->count)
        return left->count < right->count ? 1 : -1;
    return strcmp(left->word, right->word);
}

static void print(const struct table *table)
{
    struct entry **all = malloc(table->used * sizeof *all);
    size_t found = 0;
    for (size_t i = 0; i < table->size; i++)
        for (struct entry *entry = table->buckets[i]; entry; entry = entry->next)
            all[found++] = entry;
    qsort(all, found, sizeof *all, by_count);
    for (size_t i = 0; i < found && i < 10; i++)
        printf("%lu %s, ", all[i]->count, all[i]->word);
    printf("%zu words\n", found);
    fflush(stdout);
    free(all);
}

static struct table table;

int main(void)
{
    char *line = NULL;
    size_t size = 0;
    int empty = 0;
    table.size = 64;
    table.buckets = calloc(table.size, sizeof *table.buckets);
    while (getline(&line, &size, stdin) > 0) {
        empty = *line == '\n' ? empty + 1 : 0;
        if (empty == 2)
            print(&table);
        for (char *at = line; *at;) {
            char *start = at;
            while (isalpha((unsigned char)*at))
                at++;
            if (at > start)
                count(&table, start, at - start);
            else
                at++;
        }
    }
    free(line);
    print(&table);
    return 0;
}
