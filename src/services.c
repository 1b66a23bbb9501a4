/* services.c: the list of services (service.h). */
#include "service.h"

static const struct stm_service services[] = {
    {"status", false, stm_status_service},  {"log", false, stm_log_service},         {"show", false, stm_show_service},
    {"restore", true, stm_restore_service}, {"import", true, stm_import_service},    {"upgrade", true, stm_upgrade_service},
    {"fsck", false, stm_fsck_service},      {"fsck-repair", true, stm_fsck_service},
};

const struct stm_service *stm_service_find(const char *name)
{
    for (size_t i = 0; name != NULL && i < sizeof(services) / sizeof(services[0]); i++) {
        if (strcmp(services[i].name, name) == 0)
            return &services[i];
    }
    return NULL;
}
