/* main.c: the program's entry. Everything it does is in the library beside it (commands.c), where tests can reach it. */
#include "command.h"

int main(int argc, char **argv)
{
    return stm_main(argc, argv);
}
