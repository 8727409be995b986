/* The heap of one Squirrel machine: bounded, and given back whole.
 *
 * Squirrel tells the size of what it frees, so small blocks need no header: each class of 16 bytes has
 * a list of free ones, cut from chunks. Large blocks come from malloc, in a list. What is counted is
 * what the heap holds of the system's memory, free blocks included. Nothing here is shared: a heap
 * belongs to one thread.
 */
#ifndef OLELO_HEAP_H
#define OLELO_HEAP_H

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* Largest small block. With 0 every block is malloc's, for sanitizers. */
#ifndef HEAP_SMALL
#define HEAP_SMALL 512
#endif

class Heap
{
public:
    /* Bytes held; and in use, which a collection of garbage may lower. */
    size_t held = 0, used = 0;

    /* NULL where the system has no more. */
    void *take(size_t size)
    {
        if (size > SMALL) return take_large(size);
        size_t c = slot(size);
        Free *f = lists[c];
        if (!f) return cut(c);
        lists[c] = f->next;
        used += (c + 1) * STEP;
        return f;
    }

    void give(void *p, size_t size)
    {
        if (!p) return;
        if (size > SMALL) return give_large(p, size);
        size_t c = slot(size);
        Free *f = (Free *)p;
        f->next = lists[c];
        lists[c] = f;
        used -= (c + 1) * STEP;
    }

    void *change(void *p, size_t before, size_t size)
    {
        if (!p) return take(size);
        if (before > SMALL && size > SMALL) return change_large(p, before, size);
        if (before <= SMALL && size <= SMALL && slot(before) == slot(size)) return p;
        void *n = take(size);
        if (!n) return NULL;
        memcpy(n, p, before < size ? before : size);
        give(p, before);
        return n;
    }

    /* What `take` would make the heap hold more, at most. */
    static size_t cost(size_t size) { return size > SMALL ? size : CHUNK; }

    ~Heap()
    {
        for (Large *l = large; l;) { Large *n = l->next; free(l); l = n; }
        for (Free *c = chunks; c;) { Free *n = c->next; free(c); c = n; }
    }

private:
    static const size_t STEP = 16, SMALL = HEAP_SMALL, CHUNK = 64 << 10;
    struct Free { Free *next; };
    struct Large { Large *next, *before; };

    Free *lists[SMALL / STEP + 1] = {};
    Free *chunks = NULL;
    Large *large = NULL;
    char *fresh = NULL;
    size_t left = 0;

    static size_t slot(size_t size) { return size ? (size - 1) / STEP : 0; }

    void *cut(size_t c)
    {
        size_t size = (c + 1) * STEP;
        if (left < size) {
            Free *chunk = (Free *)malloc(CHUNK);
            if (!chunk) return NULL;
            chunk->next = chunks;
            chunks = chunk;
            held += CHUNK;
            fresh = (char *)chunk + STEP;
            left = CHUNK - STEP;
        }
        void *p = fresh;
        fresh += size;
        left -= size;
        used += size;
        return p;
    }

    void link(Large *l)
    {
        l->before = NULL;
        l->next = large;
        if (large) large->before = l;
        large = l;
    }

    void unlink(Large *l)
    {
        (l->before ? l->before->next : large) = l->next;
        if (l->next) l->next->before = l->before;
    }

    void *take_large(size_t size)
    {
        Large *l = (Large *)malloc(sizeof(Large) + size);
        if (!l) return NULL;
        link(l);
        held += size;
        used += size;
        return l + 1;
    }

    void give_large(void *p, size_t size)
    {
        Large *l = (Large *)p - 1;
        unlink(l);
        free(l);
        held -= size;
        used -= size;
    }

    void *change_large(void *p, size_t before, size_t size)
    {
        Large *l = (Large *)p - 1;
        unlink(l);
        Large *n = (Large *)realloc(l, sizeof(Large) + size);
        link(n ? n : l);
        if (!n) return NULL;
        held += size - before;
        used += size - before;
        return n + 1;
    }
};

#endif
