/*
 * bench.c: measures a directory: the same workloads on any filesystem, one line each.
 *
 *     cc -O2 -pthread -o bench bench.c
 *     bench -d EMPTY_DIR -n NAME -x TEXT_FILE [-c COLD_COMMAND] [-w PART,PART] [-f FILES] [-b ENTRIES] [-m MIB] [-o SAVES]
 *     bench -l LIST -n NAME            only reads the files that LIST names, a path a line, twice, and tells how fast the second time was
 *
 * prints NAME, workload, unit, value, separated by tabs. Unit "s": less is better; rates: more is better. A workload reads what earlier
 * ones wrote, so the order of the table below is fixed; -w runs those whose name has one of the parts in it. COLD_COMMAND must leave
 * nothing of the directory in memory. Only ratios of one run on one machine mean anything. Not here: what to compare with what, and
 * how often (run, beside this file).
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { ENTRY_BYTES = 2048, PIECE_BYTES = 1 << 20, PAGE_BYTES = 4096, FILES_IN_DIR = 1000, MAX_THREADS = 4, PATH_BYTES = 4096 };

struct settings {
    const char *dir, *label, *text_path, *cold, *parts;
    int files, entries, mib, saves;
};

struct text {
    const char *bytes;
    size_t len;
};

static struct settings set = {.cold = "sync; echo 3 > /proc/sys/vm/drop_caches", .files = 6000, .entries = 20000, .mib = 1024, .saves = 5000};
static struct text corpus;

/* ---- small helps ------------------------------------------------------------------------------------------------------------ */

static double seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* splitmix64: a step of a sequence that is the same in every run. */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* English in an order of its own: sentences' worth of text from random places, so that it compresses as text does and rarely repeats. */
static void compose(char *to, size_t len, uint64_t *state)
{
    while (len > 0) {
        size_t run = 40 + next_random(state) % 220;
        size_t from = next_random(state) % (corpus.len - 512);

        if (run > len)
            run = len;
        memcpy(to, corpus.bytes + from, run);
        to += run;
        len -= run;
    }
}

static void save(const char *path, const char *bytes, size_t len, bool sync)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);

    if (fd < 0)
        err(1, "%s", path);
    if (len > 0 && write(fd, bytes, len) != (ssize_t)len)
        err(1, "writing %s", path);
    if (sync && fsync(fd) != 0)
        err(1, "fsync of %s", path);
    if (close(fd) != 0)
        err(1, "closing %s", path);
}

static void make_dir(const char *path)
{
    if (mkdir(path, 0755) != 0 && access(path, F_OK) != 0)
        err(1, "%s", path);
}

static double shell(const char *format)
{
    char command[3 * PATH_BYTES], pid[16];
    char *out = command;
    double start;

    snprintf(pid, sizeof(pid), "%d", (int)getpid());
    for (; *format != '\0'; format++) { /* %D: the directory, %P: our pid */
        const char *with = format[0] == '%' && format[1] == 'D' ? set.dir : format[0] == '%' && format[1] == 'P' ? pid : NULL;

        if (with == NULL) {
            *out++ = *format;
            continue;
        }
        out = stpcpy(out, with);
        format++;
    }
    *out = '\0';
    start = seconds();
    if (system(command) != 0)
        warnx("%s: did not succeed: %s", set.label, command);
    return seconds() - start;
}

/* ---- many small files, by several threads ------------------------------------------------------------------------------------- */

typedef void visit(const char *path, uint64_t *state);

struct share {
    visit *visit;
    const char *tree;
    int first, end;
    uint64_t state;
};

static void visit_create(const char *path, uint64_t *state)
{
    char bytes[ENTRY_BYTES];

    compose(bytes, sizeof(bytes), state);
    save(path, bytes, sizeof(bytes), false);
}

static void visit_read(const char *path, uint64_t *state)
{
    char bytes[ENTRY_BYTES + 1];
    int fd = open(path, O_RDONLY);

    (void)state;
    if (fd < 0 || read(fd, bytes, sizeof(bytes)) != ENTRY_BYTES)
        err(1, "reading %s", path);
    close(fd);
}

static void visit_stat(const char *path, uint64_t *state)
{
    struct stat st;

    (void)state;
    if (stat(path, &st) != 0 || st.st_size != ENTRY_BYTES)
        err(1, "stat of %s", path);
}

static void *do_share(void *arg)
{
    struct share *s = arg;
    char path[PATH_BYTES];

    for (int i = s->first; i < s->end; i++) {
        snprintf(path, sizeof(path), "%s/%s/%02d/%05d.txt", set.dir, s->tree, i / FILES_IN_DIR, i);
        s->visit(path, &s->state);
    }
    return NULL;
}

static void make_tree(const char *tree)
{
    char path[PATH_BYTES];

    snprintf(path, sizeof(path), "%s/%s", set.dir, tree);
    make_dir(path);
    for (int d = 0; d * FILES_IN_DIR < set.files; d++) {
        snprintf(path, sizeof(path), "%s/%s/%02d", set.dir, tree, d);
        make_dir(path);
    }
}

static double visits_per_second(const char *tree, int threads, visit *v)
{
    pthread_t thread[MAX_THREADS];
    struct share share[MAX_THREADS];
    int each = set.files / threads;
    double start = seconds();

    for (int t = 0; t < threads; t++) {
        share[t] = (struct share){v, tree, t * each, (t + 1) * each, (uint64_t)(tree[0] * 1000 + t)};
        if (pthread_create(&thread[t], NULL, do_share, &share[t]) != 0)
            errx(1, "cannot start a thread");
    }
    for (int t = 0; t < threads; t++)
        pthread_join(thread[t], NULL);
    return each * threads / (seconds() - start);
}

static double create_one_thread(void)
{
    make_tree("one");
    return visits_per_second("one", 1, visit_create);
}

static double create_two_threads(void)
{
    make_tree("two");
    return visits_per_second("two", 2, visit_create);
}

static double create_empty(void)
{
    char path[PATH_BYTES];
    double start;

    snprintf(path, sizeof(path), "%s/wide", set.dir);
    make_dir(path);
    start = seconds();
    for (int i = 0; i < set.entries; i++) {
        snprintf(path, sizeof(path), "%s/wide/name%06d", set.dir, i);
        save(path, NULL, 0, false);
    }
    return set.entries / (seconds() - start);
}

/* ---- one file saved again and again --------------------------------------------------------------------------------------------- */

static double saves_per_second(int saves, bool by_rename, bool sync)
{
    char bytes[ENTRY_BYTES], word[PATH_BYTES], part[PATH_BYTES];
    uint64_t state = 5;
    double start = seconds();

    snprintf(word, sizeof(word), "%s/word", set.dir);
    snprintf(part, sizeof(part), "%s/word.new", set.dir);
    for (int i = 0; i < saves; i++) {
        compose(bytes, sizeof(bytes), &state);
        save(by_rename ? part : word, bytes, sizeof(bytes), sync);
        if (by_rename && rename(part, word) != 0)
            err(1, "renaming %s", part);
    }
    return saves / (seconds() - start);
}

static double overwrite_truncate(void)
{
    return saves_per_second(set.saves, false, false);
}

static double overwrite_rename(void)
{
    return saves_per_second(set.saves / 2, true, false);
}

static double overwrite_fsync(void)
{
    return saves_per_second(set.saves / 10, false, true);
}

/* ---- one large file --------------------------------------------------------------------------------------------------------------- */

static int open_large(int flags)
{
    char path[PATH_BYTES];
    int fd;

    snprintf(path, sizeof(path), "%s/large", set.dir);
    fd = open(path, flags, 0644);
    if (fd < 0)
        err(1, "%s", path);
    return fd;
}

/* Only the calls are timed, not the making of text. */
static double write_large(bool sync)
{
    char *piece = malloc(PIECE_BYTES);
    int fd = open_large(O_WRONLY | O_CREAT | O_TRUNC);
    uint64_t state = 11;
    double spent = 0, start;

    for (int i = 0; i < set.mib; i++) {
        compose(piece, PIECE_BYTES, &state);
        start = seconds();
        if (write(fd, piece, PIECE_BYTES) != PIECE_BYTES)
            err(1, "writing the large file");
        spent += seconds() - start;
    }
    start = seconds();
    if ((sync && fsync(fd) != 0) || close(fd) != 0)
        err(1, "closing the large file");
    spent += seconds() - start;
    free(piece);
    return set.mib / spent;
}

static double write_seq(void)
{
    return write_large(false);
}

static double write_seq_fsync(void)
{
    return write_large(true);
}

static double read_seq(void)
{
    char *piece = malloc(PIECE_BYTES);
    double start = seconds();
    int fd = open_large(O_RDONLY);
    ssize_t n;

    while ((n = read(fd, piece, PIECE_BYTES)) > 0)
        ;
    if (n < 0)
        err(1, "reading the large file");
    close(fd);
    free(piece);
    return set.mib / (seconds() - start);
}

static double read_pages(void)
{
    uint64_t state = 17, pages = (uint64_t)set.mib * (PIECE_BYTES / PAGE_BYTES), done = 0;
    char page[PAGE_BYTES];
    int fd = open_large(O_RDONLY);
    double start = seconds();

    do {
        for (int i = 0; i < 64; i++, done++) {
            if (pread(fd, page, sizeof(page), (off_t)(next_random(&state) % pages * PAGE_BYTES)) != PAGE_BYTES)
                err(1, "reading a page");
        }
    } while (seconds() - start < 2);
    start = done / (seconds() - start);
    close(fd);
    return start;
}

static double read_mapped(void)
{
    size_t len = (size_t)set.mib * PIECE_BYTES;
    unsigned sum = 0;
    double start = seconds();
    int fd = open_large(O_RDONLY);
    const volatile unsigned char *bytes = mmap(NULL, len, PROT_READ, MAP_SHARED, fd, 0);

    if (bytes == MAP_FAILED)
        err(1, "mapping the large file");
    for (size_t at = 0; at < len; at += PAGE_BYTES)
        sum += bytes[at];
    munmap((void *)bytes, len);
    close(fd);
    return sum == 0 ? 0 : set.mib / (seconds() - start);
}

/* ---- reading back ------------------------------------------------------------------------------------------------------------------ */

static double stat_one(void)
{
    return visits_per_second("one", 1, visit_stat);
}

static double read_one(void)
{
    return visits_per_second("one", 1, visit_read);
}

static double read_two(void)
{
    return visits_per_second("two", 1, visit_read);
}

static double read_two_threads(void)
{
    return visits_per_second("one", 2, visit_read);
}

static double list_long(void)
{
    return shell("ls -l %D/wide > /dev/null");
}

static double list_names(void)
{
    return shell("ls -f %D/wide > /dev/null");
}

static double find_files(void)
{
    return shell("find %D/one -type f -size +1k > /dev/null");
}

static double grep_files(void)
{
    return shell("! grep -r zzqqxx %D/one > /dev/null");
}

static double rsync_out(void)
{
    return shell("rsync -a %D/two/ /dev/shm/stemma-bench.%P/");
}

static double rsync_again(void)
{
    double spent = shell("rsync -a %D/two/ /dev/shm/stemma-bench.%P/");

    (void)shell("rm -rf /dev/shm/stemma-bench.%P");
    return spent;
}

/* cold: what runs first; WARM: the workload itself, once, untimed. */
enum before { AS_IT_IS, COLD, WARM };

static const struct workload {
    const char *name, *unit;
    double (*run)(void);
    enum before before;
} workloads[] = {
    {"create_2k_1t", "files/s", create_one_thread, AS_IT_IS},
    {"create_2k_2t", "files/s", create_two_threads, AS_IT_IS},
    {"create_empty", "files/s", create_empty, AS_IT_IS},
    {"overwrite_truncate", "saves/s", overwrite_truncate, AS_IT_IS},
    {"overwrite_rename", "saves/s", overwrite_rename, AS_IT_IS},
    {"overwrite_fsync", "saves/s", overwrite_fsync, AS_IT_IS},
    {"write_seq", "MiB/s", write_seq, AS_IT_IS},
    {"write_seq_fsync", "MiB/s", write_seq_fsync, AS_IT_IS},
    {"stat_cold", "files/s", stat_one, COLD},
    {"read_2k_cold", "files/s", read_two, AS_IT_IS},
    {"read_seq_cold", "MiB/s", read_seq, AS_IT_IS},
    {"read_rand4k_cold", "reads/s", read_pages, COLD},
    {"list_long_cold", "s", list_long, AS_IT_IS},
    {"find_cold", "s", find_files, AS_IT_IS},
    {"read_mmap_cold", "MiB/s", read_mapped, COLD},
    {"grep_cold", "s", grep_files, AS_IT_IS},
    {"rsync_out_cold", "s", rsync_out, COLD},
    {"rsync_again_warm", "s", rsync_again, AS_IT_IS},
    {"find_warm", "s", find_files, WARM},
    {"grep_warm", "s", grep_files, WARM},
    {"list_names_warm", "s", list_names, WARM},
    {"list_long_warm", "s", list_long, WARM},
    {"stat_warm", "files/s", stat_one, WARM},
    {"read_2k_warm_1t", "files/s", read_one, WARM},
    {"read_2k_warm_2t", "files/s", read_two_threads, AS_IT_IS},
    {"read_seq_warm", "MiB/s", read_seq, WARM},
    {"read_rand4k_warm", "reads/s", read_pages, WARM},
    {"read_mmap_warm", "MiB/s", read_mapped, WARM},
};

static bool wanted(const char *name)
{
    char *copy, *rest, *part;
    bool hit = set.parts == NULL;

    if (hit)
        return true;
    copy = rest = strdup(set.parts);
    while ((part = strsep(&rest, ",")) != NULL)
        hit = hit || (*part != '\0' && strstr(name, part) != NULL);
    free(copy);
    return hit;
}

/* Reads every file of the list from start to end. Returns how many; adds their bytes to *total. */
static int read_list(FILE *list, double *total)
{
    char *piece = malloc(PIECE_BYTES), *path = NULL;
    size_t room = 0;
    ssize_t n;
    int files = 0;

    rewind(list);
    while ((n = getline(&path, &room, list)) > 0) {
        int fd;

        path[n - 1] = '\0';
        fd = open(path, O_RDONLY);
        while (fd >= 0 && (n = read(fd, piece, PIECE_BYTES)) > 0)
            *total += (double)n;
        if (fd < 0 || n < 0 || close(fd) != 0)
            err(1, "reading %s", path);
        files++;
    }
    free(path);
    free(piece);
    return files;
}

static int bench_list(const char *list_path)
{
    FILE *list = fopen(list_path, "r");
    double bytes = 0, start;
    int files;

    if (list == NULL)
        err(1, "%s", list_path);
    (void)read_list(list, &bytes);
    bytes = 0;
    start = seconds();
    files = read_list(list, &bytes);
    start = seconds() - start;
    printf("%s\tlist_files\tfiles/s\t%.4g\n%s\tlist_bytes\tMiB/s\t%.4g\n", set.label, files / start, set.label,
           bytes / PIECE_BYTES / start);
    fclose(list);
    return 0;
}

/* A cold start comes before the first workload of its group even if only later ones of the group are wanted. */
static void run_all(void)
{
    for (size_t i = 0; i < sizeof(workloads) / sizeof(workloads[0]); i++) {
        const struct workload *w = &workloads[i];

        if (w->before == COLD && system(set.cold) != 0)
            errx(1, "%s: the cold command failed: %s", set.label, set.cold);
        if (!wanted(w->name))
            continue;
        if (w->before == WARM)
            (void)w->run();
        printf("%s\t%s\t%s\t%.4g\n", set.label, w->name, w->unit, w->run());
        fflush(stdout);
    }
}

static void load_corpus(void)
{
    struct stat st;
    int fd = open(set.text_path, O_RDONLY);

    if (fd < 0 || fstat(fd, &st) != 0)
        err(1, "%s", set.text_path);
    if (st.st_size < PIECE_BYTES)
        errx(1, "%s is too short: give at least a mebibyte of text", set.text_path);
    corpus.len = (size_t)st.st_size;
    corpus.bytes = mmap(NULL, corpus.len, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    if (corpus.bytes == MAP_FAILED)
        err(1, "%s", set.text_path);
    close(fd);
}

int main(int argc, char **argv)
{
    const char *list = NULL;
    int option;

    while ((option = getopt(argc, argv, "d:n:x:c:w:f:b:m:o:l:")) != -1) {
        switch (option) {
        case 'd': set.dir = optarg; break;
        case 'n': set.label = optarg; break;
        case 'x': set.text_path = optarg; break;
        case 'c': set.cold = optarg; break;
        case 'w': set.parts = optarg; break;
        case 'f': set.files = atoi(optarg); break;
        case 'b': set.entries = atoi(optarg); break;
        case 'm': set.mib = atoi(optarg); break;
        case 'o': set.saves = atoi(optarg); break;
        case 'l': list = optarg; break;
        default: return 2;
        }
    }
    if (list != NULL && set.label != NULL)
        return bench_list(list);
    if (set.dir == NULL || set.label == NULL || set.text_path == NULL || optind != argc)
        errx(2, "usage: bench -d EMPTY_DIR -n NAME -x TEXT_FILE [-c COLD_COMMAND] [-w PART,...] [-f FILES] [-b ENTRIES] [-m MIB] [-o SAVES]");
    load_corpus();
    run_all();
    return 0;
}
