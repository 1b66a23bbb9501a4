/*
 * valgrind_control.c: mistakes for script/valgrind to find, each by its name: unwritten, freed, outside, leaked; none makes none. Never a part of
 * anything else. Mistakes hide behind volatile, so that no compiler sees them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
    const char *mistake = argc > 1 ? argv[1] : "none";
    char *volatile p = malloc(16);
    char *volatile freed = p;

    if (!p)
        return 1;
    if (strcmp(mistake, "unwritten") == 0 && p[3] == 'x')
        puts("x");
    memset(p, 0, 16);
    if (strcmp(mistake, "outside") == 0)
        p[16] = 'x';
    if (strcmp(mistake, "leaked") == 0)
        p = NULL;
    free(p);
    if (strcmp(mistake, "freed") == 0 && freed[0] == 'x')
        puts("x");
    freed = NULL;
    return 0;
}
