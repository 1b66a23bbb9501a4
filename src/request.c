/* request.c: requests as JSON objects (service.h): building and reading them. Not here: sending (client.c, server.c). */
#include "service.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

int stm_percent_encode(struct stm_slice bytes, struct stm_buf *ret)
{
    const uint8_t *at = bytes.data;
    int err = 0;

    for (size_t i = 0; err == 0 && i < bytes.len; i++) {
        if (at[i] > ' ' && at[i] < 0x7f && at[i] != '%')
            err = stm_buf_append(ret, &at[i], 1);
        else
            err = stm_buf_printf(ret, "%%%02X", at[i]);
    }
    return err;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int stm_percent_decode(const char *text, struct stm_buf *ret)
{
    int err = 0;

    for (const char *at = text; err == 0 && *at != '\0'; at++) {
        uint8_t byte = (uint8_t)*at;

        if (*at == '%') {
            int high = hex_digit(at[1]), low = high < 0 ? -1 : hex_digit(at[2]);

            if (low < 0)
                return -EINVAL;
            byte = (uint8_t)(high * 16 + low);
            at += 2;
        }
        err = stm_buf_append(ret, &byte, 1);
    }
    return err;
}

int stm_request_set(json_t *request, const char *key, struct stm_slice bytes)
{
    struct stm_buf text = STM_BUF_INIT;
    int err = stm_percent_encode(bytes, &text);

    if (err == 0 && json_object_set_new(request, key, json_stringn((const char *)text.data, text.len)) < 0)
        err = -ENOMEM;
    stm_buf_release(&text);
    return err;
}

int stm_request_get(const json_t *request, const char *key, char **ret)
{
    const char *text = json_string_value(json_object_get(request, key));
    struct stm_buf bytes = STM_BUF_INIT;
    int err;

    if (text == NULL)
        return -ENOENT;
    err = stm_percent_decode(text, &bytes);
    if (err == 0 && bytes.len > 0 && memchr(bytes.data, 0, bytes.len) != NULL)
        err = -EINVAL;
    if (err == 0)
        err = stm_buf_append(&bytes, "", 1);
    if (err < 0) {
        stm_buf_release(&bytes);
        return err;
    }
    *ret = (char *)bytes.data;
    return 0;
}

bool stm_request_flag(const json_t *request, const char *key)
{
    return json_is_true(json_object_get(request, key));
}

json_t *stm_request_new(const char *command, const struct stm_resource *r)
{
    json_t *q = json_pack("{s:s}", "command", command);

    if (q == NULL)
        return NULL;
    if (stm_request_set(q, "path", stm_slice_str(r->path)) < 0)
        goto fail;
    if (r->seq != STM_SEQ_HEAD && json_object_set_new(q, "seq", json_integer((json_int_t)r->seq)) < 0)
        goto fail;
    return q;
fail:
    json_decref(q);
    return NULL;
}

/* How many bytes the UTF-8 sequence at the start of bytes has; 0 when it is none. jansson itself judges the details. */
static size_t sequence(const uint8_t *at, size_t left)
{
    size_t len = *at < 0x80 ? 1 : *at >= 0xf0 ? 4 : *at >= 0xe0 ? 3 : *at >= 0xc2 ? 2 : 0;
    json_t *probe;

    if (len <= 1 || len > left)
        return len <= left ? len : 0;
    probe = json_stringn((const char *)at, len);
    json_decref(probe);
    return probe != NULL ? len : 0;
}

json_t *stm_json_text(struct stm_slice bytes)
{
    json_t *text = json_stringn(bytes.len > 0 ? bytes.data : "", bytes.len);
    struct stm_buf clean = STM_BUF_INIT;
    const uint8_t *at = bytes.data;
    int err = 0;

    if (text != NULL)
        return text;
    for (size_t i = 0; err == 0 && i < bytes.len;) {
        size_t len = sequence(at + i, bytes.len - i);

        err = len > 0 ? stm_buf_append(&clean, at + i, len) : stm_buf_append(&clean, "\xef\xbf\xbd", 3);
        i += len > 0 ? len : 1;
    }
    if (err == 0)
        text = json_stringn((const char *)clean.data, clean.len);
    stm_buf_release(&clean);
    return text;
}

int stm_json_print(struct stm_out *out, json_t *object)
{
    char *text = object == NULL ? NULL : json_dumps(object, JSON_COMPACT);

    json_decref(object);
    if (text == NULL)
        return stm_out_fail(out, STM_EXIT_FAILED, "out of memory");
    stm_out_print(out, "%s\n", text);
    free(text);
    return STM_EXIT_OK;
}
