/*
 * dirlist.c: see dirlist.h. Between a file's name and the next come its versions, as `name@vX.Y.Z`.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "dirlist.h"
#include "file.h"

struct listing {
    struct listing *next;
    uint64_t handle;
    struct stm_listed *items;
    size_t n, cap;
};

struct stm_listings {
    pthread_mutex_t lock; /* guards the chain and the lists */
    struct listing *first;
};

int stm_listings_new(struct stm_fs *fs)
{
    fs->listings = calloc(1, sizeof *fs->listings);
    if (!fs->listings)
        return -ENOMEM;
    pthread_mutex_init(&fs->listings->lock, NULL);
    return 0;
}

static void clear(struct listing *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->items[i].name);
    free(l->items);
    l->items = NULL;
    l->n = l->cap = 0;
}

void stm_listings_free(struct stm_fs *fs)
{
    if (!fs->listings)
        return;
    for (struct listing *l = fs->listings->first, *next; l; l = next) {
        next = l->next;
        clear(l);
        free(l);
    }
    pthread_mutex_destroy(&fs->listings->lock);
    free(fs->listings);
    fs->listings = NULL;
}

static int make_listing(struct stm_fs *fs, uint64_t handle)
{
    struct listing *l = calloc(1, sizeof *l);

    if (!l)
        return -ENOMEM;
    l->handle = handle;
    pthread_mutex_lock(&fs->listings->lock);
    l->next = fs->listings->first;
    fs->listings->first = l;
    pthread_mutex_unlock(&fs->listings->lock);
    return 0;
}

int stm_listing_open(struct stm_fs *fs, uint64_t *ret_handle)
{
    *ret_handle = stm_new_handle(fs);
    return make_listing(fs, *ret_handle);
}

static struct listing **find_locked(struct stm_fs *fs, uint64_t handle)
{
    struct listing **p = &fs->listings->first;

    while (*p && (*p)->handle != handle)
        p = &(*p)->next;
    return p;
}

void stm_listing_close(struct stm_fs *fs, uint64_t handle)
{
    pthread_mutex_lock(&fs->listings->lock);
    struct listing **p = find_locked(fs, handle), *l = *p;
    if (l)
        *p = l->next;
    pthread_mutex_unlock(&fs->listings->lock);
    if (l)
        clear(l);
    free(l);
}

static int append(struct listing *l, uint64_t ino, uint32_t type, const char *name)
{
    if (l->n == l->cap) {
        size_t cap = l->cap ? 2 * l->cap : 64;
        struct stm_listed *items = realloc(l->items, cap * sizeof *items);
        if (!items)
            return -ENOMEM;
        l->items = items;
        l->cap = cap;
    }
    l->items[l->n] = (struct stm_listed){ino, type, strdup(name)};
    return l->items[l->n++].name ? 0 : -ENOMEM;
}

static int append_versions(struct stm_fs *fs, struct listing *l, const struct stm_entry *e)
{
    struct stm_view v = stm_view_head(fs->store);
    char name[STM_NAME_MAX + STM_SEMVER_TEXT + 2];
    struct stm_version_row row;
    struct stm_object o;
    bool hidden;
    uint32_t tip;
    int err = stm_observe(fs, e->object, true, &hidden);

    if (err == 0)
        err = stm_object_get(&v, e->object, &o);
    if (err < 0 || stm_visible_tip(&o, hidden, &tip) < 0)
        return err == -ENOENT ? 0 : err;
    for (uint32_t i = 0; err == 0 && i <= tip; i++) {
        err = stm_version_row(&v, o.line, i, &row);
        if (err < 0)
            break;
        int n = snprintf(name, sizeof name, "%s@", e->name);
        n += stm_semver_format(row.semver, name + n);
        if (n <= STM_NAME_MAX)
            err = append(l, stm_nodeid_version(o.line, i), S_IFREG, name);
    }
    return err;
}

static int fill(struct stm_fs *fs, struct listing *l, uint64_t dir)
{
    struct stm_view v = stm_view_head(fs->store);
    struct stm_object o;
    struct stm_entry e;
    struct stm_dir *d;
    int err = stm_object_get(&v, dir, &o);

    if (err == 0)
        err = append(l, stm_nodeid_head(dir), S_IFDIR, ".");
    if (err == 0)
        err = append(l, stm_nodeid_head(dir == STM_ROOT_OBJECT ? dir : o.parent), S_IFDIR, "..");
    if (err == 0)
        err = stm_dir_open(&v, dir, 0, &d);
    if (err < 0)
        return err == -ENOENT ? -ESTALE : err;
    while (err == 0 && (err = stm_dir_next(d, &e, NULL)) == 1) {
        err = append(l, stm_nodeid_head(e.object), e.type, e.name);
        if (err == 0 && e.type == S_IFREG)
            err = append_versions(fs, l, &e);
    }
    stm_dir_free(d);
    return err;
}

static bool is_known(struct stm_fs *fs, uint64_t handle)
{
    pthread_mutex_lock(&fs->listings->lock);
    bool known = *find_locked(fs, handle) != NULL;
    pthread_mutex_unlock(&fs->listings->lock);
    return known;
}

int stm_listing_fill(struct stm_fs *fs, uint64_t handle, uint64_t dir)
{
    struct listing fresh = {.handle = handle};
    int err = is_known(fs, handle) ? 0 : make_listing(fs, handle);

    if (err == 0)
        err = fill(fs, &fresh, dir);
    pthread_mutex_lock(&fs->listings->lock);
    struct listing *l = *find_locked(fs, handle);
    if (err == 0 && l) {
        struct listing old = *l;
        l->items = fresh.items;
        l->n = fresh.n;
        l->cap = fresh.cap;
        fresh = old;
    }
    pthread_mutex_unlock(&fs->listings->lock);
    clear(&fresh);
    return err;
}

int stm_listing_get(struct stm_fs *fs, uint64_t handle, uint64_t index, struct stm_listed *ret, char *name)
{
    int err = -EBADF;

    pthread_mutex_lock(&fs->listings->lock);
    const struct listing *l = *find_locked(fs, handle);
    if (l)
        err = index < l->n;
    if (err == 1) {
        *ret = l->items[index];
        ret->name = name;
        strcpy(name, l->items[index].name);
    }
    pthread_mutex_unlock(&fs->listings->lock);
    return err;
}
