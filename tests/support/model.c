/* model.c: see model.h. Written from DESIGN §3 and the headers of the store, not from its code. */
#include "model.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "world.h"

const char *const model_names[MODEL_NAMES] = {"a", "b", "c", "word", "word.new", "alias", "b~", ".word.swp"};

static bool is_junk(int name)
{
    return name >= MODEL_JUNK;
}

void model_begin(struct model *m)
{
    memset(m, 0, sizeof *m);
    m->o[0] = (struct model_object){.type = S_IFDIR, .nlink = 2};
    m->n = m->next_id = 1;
}

static struct model_version *tip_of(struct model_object *o)
{
    return o->versions ? &o->line[o->versions - 1] : NULL;
}

static void show(struct model_object *o, const struct model_version *v)
{
    o->shows = v ? v->content : MODEL_NONE;
    o->shows_id = v ? v->id : 0;
}

static struct stm_semver next_semver(const struct model_version *tip, unsigned flags)
{
    if (!tip)
        return (struct stm_semver){1, 0, 0};
    if (flags & WORLD_MAJOR)
        return (struct stm_semver){tip->semver.major + 1, 0, 0};
    if (flags & WORLD_MINOR)
        return (struct stm_semver){tip->semver.major, tip->semver.minor + 1, 0};
    return (struct stm_semver){tip->semver.major, tip->semver.minor, tip->semver.patch + 1};
}

struct saving {
    struct model *m;
    int object, content;
    unsigned flags;
    uint64_t seq;
};

static void make_version(const struct saving *s, struct model_version *at, struct stm_semver number)
{
    struct model_object *o = &s->m->o[s->object];

    *at = (struct model_version){
        .content = s->content, .id = s->m->next_id++, .semver = number, .maker = s->object, .carry = o->carry, .seq = s->seq};
    show(o, at);
}

/* Another content for the newest version; or it goes, if the one before has that content already. */
static void replace_tip(const struct saving *s)
{
    struct model_object *o = &s->m->o[s->object];
    struct model_version *tip = tip_of(o), *before = tip - 1;

    s->m->dead[tip->id] = true;
    if (!(s->flags & WORLD_ALWAYS) && o->versions > 1 && !before->inherited && before->content == s->content) {
        o->versions--;
        show(o, before);
        return;
    }
    make_version(s, tip, tip->semver);
}

/* The next version of the line, unless it would be the same. A line gets one version by a commit. */
static void append(const struct saving *s)
{
    struct model_object *o = &s->m->o[s->object];
    struct model_version *tip = tip_of(o);

    if (tip && tip->content == s->content && !(s->flags & WORLD_ALWAYS)) {
        if (tip->inherited) { /* from now on the line has it itself */
            tip->inherited = false;
            tip->id = s->m->next_id++;
            tip->seq = s->seq;
        }
        if (tip->seq == s->seq) { /* whoever made it in this commit, it is this object's now */
            tip->maker = s->object;
            tip->carry = o->carry;
        }
        show(o, tip);
        return;
    }
    if (tip && tip->seq == s->seq && !tip->inherited) {
        replace_tip(s);
        return;
    }
    if (o->versions == MODEL_CHAIN) {
        s->m->full = true;
        return;
    }
    struct stm_semver number = next_semver(tip, s->flags);
    make_version(s, &o->line[o->versions++], number);
}

static int apply_save(struct model *m, const struct model_op *op, uint64_t seq)
{
    struct saving s = {m, op->object, op->content, op->flags, seq};
    struct model_object *o = &m->o[op->object];
    const struct model_version *tip = tip_of(o);

    if (o->purged)
        return -ENOENT;
    if (!S_ISREG(o->type))
        return S_ISDIR(o->type) ? -EISDIR : -EINVAL;
    if (o->gone)
        return -ESTALE;
    bool own = tip && o->shows_id == tip->id && tip->maker == op->object && tip->carry == o->carry && !tip->inherited;
    if (own && ((op->flags & WORLD_AMEND) || o->junk || tip->seq == seq)) {
        if (tip->content != op->content || (op->flags & WORLD_ALWAYS))
            replace_tip(&s);
    } else {
        append(&s);
    }
    return 0;
}

static int new_object(struct model *m, uint32_t type)
{
    if (m->n == MODEL_OBJECTS) {
        m->full = true;
        return 1;
    }
    m->o[m->n] = (struct model_object){.type = type, .nlink = S_ISDIR(type) ? 2 : 1, .shows = MODEL_NONE};
    return m->n++;
}

static int apply_create(struct model *m, struct model_op *op)
{
    struct model_object *dir = &m->o[op->dir];

    if (!dir->nlink)
        return -ENOENT;
    if (dir->name[op->name])
        return -EEXIST;
    int id = op->object = new_object(m, op->type), waits = dir->waits[op->name];
    struct model_object *o = &m->o[id];
    if (S_ISDIR(op->type)) {
        o->parent = op->dir;
        dir->nlink++;
    }
    if (S_ISREG(op->type) && !is_junk(op->name) && waits) {
        memcpy(o->line, m->o[waits].line, sizeof o->line);
        o->versions = m->o[waits].versions;
        o->borrowed = m->o[waits].gone = true;
        dir->waits[op->name] = 0;
    }
    o->junk = is_junk(op->name) && !S_ISDIR(op->type);
    dir->name[op->name] = id;
    dir->entries++;
    return 0;
}

/* A name less. */
static void unname(struct model *m, int dir, int name)
{
    int id = m->o[dir].name[name];
    struct model_object *o = &m->o[id];

    m->o[dir].name[name] = 0;
    m->o[dir].entries--;
    if (--o->nlink == 0 && o->junk)
        o->purged = true;
    else if (o->nlink == 0 && S_ISREG(o->type) && !is_junk(name))
        m->o[dir].waits[name] = id;
}

static void remove_dir(struct model *m, int dir, int name)
{
    m->o[m->o[dir].name[name]].nlink = 0;
    m->o[dir].name[name] = 0;
    m->o[dir].entries--;
    m->o[dir].nlink--;
}

static int apply_remove(struct model *m, const struct model_op *op)
{
    struct model_object *dir = &m->o[op->dir];
    int id = dir->name[op->name];

    if (!dir->nlink || !id)
        return -ENOENT;
    if (op->kind == MODEL_UNLINK) {
        if (S_ISDIR(m->o[id].type))
            return -EISDIR;
        unname(m, op->dir, op->name);
        return 0;
    }
    if (!S_ISDIR(m->o[id].type))
        return -ENOTDIR;
    if (m->o[id].entries)
        return -ENOTEMPTY;
    remove_dir(m, op->dir, op->name);
    return 0;
}

static int apply_link(struct model *m, const struct model_op *op)
{
    struct model_object *dir = &m->o[op->dir], *o = &m->o[op->object];

    if (!dir->nlink || o->purged)
        return -ENOENT;
    if (S_ISDIR(o->type))
        return -EPERM;
    if (!o->nlink)
        return -ENOENT;
    if (dir->name[op->name])
        return -EEXIST;
    o->nlink++;
    if (!is_junk(op->name))
        o->junk = false;
    if (!is_junk(op->name) && S_ISREG(o->type))
        dir->waits[op->name] = 0; /* the name has another line now */
    dir->name[op->name] = op->object;
    dir->entries++;
    return 0;
}

/* `old` goes on with a line that lists what it had. Its newest version, if that is what it shows, is its own there. */
static void fork_line(struct model *m, int old, uint64_t seq)
{
    struct model_object *o = &m->o[old];
    bool shows = o->shows != MODEL_NONE;

    for (int i = 0; i < o->versions; i++)
        o->line[i].inherited = true;
    o->carry++;
    o->borrowed = true;
    if (shows) {
        struct model_version *tip = tip_of(o);
        tip->inherited = false;
        tip->maker = old;
        tip->carry = o->carry;
        tip->seq = seq;
        tip->id = m->next_id++;
        show(o, tip);
    }
}

/* `s->object` takes over old's line, with a content as its next version. */
static void take_line(const struct saving *s, int old, bool drop)
{
    struct model_object *n = &s->m->o[s->object], *o = &s->m->o[old];
    const struct model_version *tip = tip_of(n);
    struct model_object was = *o;
    bool one = n->versions == 0 || (n->versions == 1 && n->shows_id == tip->id);

    if (drop && one && !n->borrowed && (n->nlink <= 1 || n->junk))
        n->dropped = s->seq;
    if (o->nlink > 0 || (o->shows != MODEL_NONE && tip_of(o)->seq == s->seq))
        fork_line(s->m, old, s->seq); /* also when it shows what this commit saved: that place in the line is taken by what comes last */
    else
        o->gone = true;
    memcpy(n->line, was.line, sizeof n->line);
    n->versions = was.versions;
    n->carry++;
    n->borrowed = true;
    append(s);
}

/* Nothing of `name` any more; what of the newcomer's line? */
static void move_in(struct model *m, const struct model_op *op, int n, uint64_t seq)
{
    struct model_object *to = &m->o[op->dir2], *o = &m->o[n];
    int old = to->name[op->name2], waits = to->waits[op->name2];
    struct saving s = {m, n, o->shows == MODEL_NONE ? 0 : o->shows, 0, seq};
    bool drop = op->drop || o->junk, regular = S_ISREG(o->type) && !is_junk(op->name2);

    if (old && S_ISDIR(m->o[old].type)) {
        remove_dir(m, op->dir2, op->name2);
    } else if (old && S_ISREG(m->o[old].type) && regular) {
        to->name[op->name2] = 0;
        to->entries--;
        m->o[old].nlink--;
        take_line(&s, old, drop);
    } else if (old) {
        unname(m, op->dir2, op->name2);
    } else if (regular && waits) {
        if (drop || m->o[waits].keeper)
            take_line(&s, waits, drop);
        to->waits[op->name2] = 0;
    }
}

/* A file goes to a junk name: its line waits at the old one, and it goes on with a fork. */
static void leave_line(struct model *m, const struct model_op *op, int n, uint64_t seq)
{
    const struct model_object *o = &m->o[n];

    if (!S_ISREG(o->type) || o->nlink != 1 || o->versions == 0 || o->junk || !is_junk(op->name2) || is_junk(op->name))
        return;
    int keeper = new_object(m, S_IFREG);
    struct model_object *k = &m->o[keeper];
    k->keeper = k->purged = true; /* nobody can ask for it */
    k->nlink = 0;
    k->versions = o->versions;
    memcpy(k->line, o->line, sizeof k->line);
    fork_line(m, n, seq);
    m->o[op->dir].waits[op->name] = keeper;
}

static bool lies_below(const struct model *m, int object, int dir)
{
    while (dir != object && dir != 0)
        dir = m->o[dir].parent;
    return dir == object;
}

static int check_rename(const struct model *m, const struct model_op *op, int n, int o)
{
    bool n_dir = S_ISDIR(m->o[n].type), o_dir = o && S_ISDIR(m->o[o].type), exchange = op->kind == MODEL_EXCHANGE;

    if (o && op->noreplace)
        return -EEXIST;
    if (!o && exchange)
        return -ENOENT;
    if ((n_dir && lies_below(m, n, op->dir2)) || (exchange && o_dir && lies_below(m, o, op->dir)))
        return -EINVAL;
    if (!o || exchange)
        return 0;
    if (n_dir && !o_dir)
        return -ENOTDIR;
    if (!n_dir && o_dir)
        return -EISDIR;
    return o_dir && o != n && m->o[o].entries ? -ENOTEMPTY : 0;
}

static void put_name(struct model *m, int dir, int name, int id)
{
    struct model_object *o = &m->o[id];

    m->o[dir].name[name] = id;
    if (!is_junk(name))
        o->junk = false;
    if (S_ISDIR(o->type)) {
        o->parent = dir;
        m->o[dir].nlink++;
    }
}

static int apply_rename(struct model *m, const struct model_op *op, uint64_t seq)
{
    struct model_object *from = &m->o[op->dir], *to = &m->o[op->dir2];

    if (!from->nlink || !to->nlink || !from->name[op->name])
        return -ENOENT;
    int n = from->name[op->name], o = to->name[op->name2], err = check_rename(m, op, n, o);
    if (err < 0 || n == o)
        return err;
    if (op->kind == MODEL_RENAME) {
        move_in(m, op, n, seq);
        leave_line(m, op, n, seq);
        from->name[op->name] = 0;
        from->entries--;
        to->entries++;
    }
    from->nlink -= S_ISDIR(m->o[n].type) != 0;
    to->nlink -= op->kind == MODEL_EXCHANGE && S_ISDIR(m->o[o].type);
    put_name(m, op->dir2, op->name2, n);
    if (op->kind == MODEL_EXCHANGE)
        put_name(m, op->dir, op->name, o);
    return 0;
}

static int apply_replace(struct model *m, struct model_op *op, uint64_t seq)
{
    struct model_object *dir = &m->o[op->dir];
    int old = dir->name[op->name];

    if (!dir->nlink || !old)
        return -ENOENT;
    if (!S_ISREG(m->o[old].type))
        return -EINVAL;
    op->object = new_object(m, S_IFREG);
    struct saving s = {m, op->object, op->content, op->flags | WORLD_ALWAYS, seq};
    m->o[old].nlink--;
    take_line(&s, old, true);
    dir->name[op->name] = op->object;
    return 0;
}

int model_apply(struct model *m, struct model_op *op, uint64_t seq)
{
    m->full = m->next_id + 4 > MODEL_IDS;
    switch (op->kind) {
    case MODEL_CREATE:
        return apply_create(m, op);
    case MODEL_SAVE:
        return apply_save(m, op, seq);
    case MODEL_UNLINK:
    case MODEL_RMDIR:
        return apply_remove(m, op);
    case MODEL_LINK:
        return apply_link(m, op);
    case MODEL_RENAME:
    case MODEL_EXCHANGE:
        return apply_rename(m, op, seq);
    case MODEL_REPLACE:
        return apply_replace(m, op, seq);
    case MODEL_KINDS:
        break;
    }
    return -EINVAL;
}
