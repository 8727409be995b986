/* The heap of one Squirrel machine: bounded, and given back whole.
 *
 * Squirrel tells the size of what it frees, so small blocks need no header: each class of 16 bytes has
 * a list of free ones, cut from chunks; `trim` gives back the chunks that are free as a whole. Large
 * blocks come from malloc, in a list. What is counted is what the heap holds of the system's memory,
 * free blocks included. Nothing here is shared: a heap belongs to one thread.
 */
#ifndef OLELO_HEAP_H
#define OLELO_HEAP_H

#include <new>
#include <stddef.h>
#include <stdint.h>
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
        count(f, (c + 1) * STEP);
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
        count(f, 0 - (c + 1) * STEP);
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

    /* What `take` would make the heap hold more. */
    size_t cost(size_t size) const
    {
        if (size > SMALL) return size;
        size_t c = slot(size);
        return lists[c] || left >= (c + 1) * STEP ? 0 : CHUNK;
    }

    /* What `change` would. */
    size_t cost(const void *p, size_t before, size_t size) const
    {
        if (!p) return cost(size);
        if (before > SMALL && size > SMALL) return size > before ? size - before : 0;
        if (before <= SMALL && size <= SMALL && slot(before) == slot(size)) return 0;
        return cost(size);
    }

    /* Gives the system what is free; but keeps the chunk that blocks are being cut from. */
    void trim()
    {
        for (Free *&list : lists) {
            for (Free **at = &list; *at;) {
                if (is_free(chunk_of(*at))) *at = (*at)->next;
                else at = &(*at)->next;
            }
        }
        for (Chunk **at = &chunks; *at;) {
            Chunk *c = *at;
            if (!is_free(c)) { at = &c->next; continue; }
            *at = c->next;
            free(c);
            held -= CHUNK;
        }
    }

    ~Heap()
    {
        for (Large *l = large; l;) { Large *n = l->next; free(l); l = n; }
        for (Chunk *c = chunks; c;) { Chunk *n = c->next; free(c); c = n; }
    }

private:
    static const size_t STEP = 16, SMALL = HEAP_SMALL, CHUNK = 64 << 10;
    /* Of a chunk, for malloc's own: so that one chunk can follow another. */
    static const size_t MALLOCS = 64;
    struct Free { Free *next; };
    /* Before its blocks, at an address that is a multiple of its size. */
    struct Chunk { Chunk *next; size_t used; };
    struct Large { Large *next, *before; };

    Free *lists[SMALL / STEP + 1] = {};
    Chunk *chunks = NULL;
    Large *large = NULL;
    char *fresh = NULL;
    size_t left = 0;

    static size_t slot(size_t size) { return size ? (size - 1) / STEP : 0; }

    static Chunk *chunk_of(void *p) { return (Chunk *)((uintptr_t)p & ~(uintptr_t)(CHUNK - 1)); }

    bool is_free(const Chunk *c) const { return c->used == 0 && c != chunk_of(fresh - 1); }

    void count(void *p, size_t size)
    {
        used += size;
        chunk_of(p)->used += size;
    }

    void *cut(size_t c)
    {
        size_t size = (c + 1) * STEP;
        if (left < size) {
            void *room;
            if (posix_memalign(&room, CHUNK, CHUNK - MALLOCS)) return NULL;
            chunks = new (room) Chunk{chunks, 0};
            held += CHUNK;
            fresh = (char *)(chunks + 1);
            left = CHUNK - MALLOCS - sizeof(Chunk);
        }
        void *p = fresh;
        fresh += size;
        left -= size;
        count(p, size);
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
