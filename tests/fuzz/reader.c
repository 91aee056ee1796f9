/* A second JSON reader (RFC 8259), by recursion, against which the program's own is held. Part of cni.c. */
#include <ctype.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* The end of the value at `at`, or NULL. */
static const uint8_t *a_value(const uint8_t *at, const uint8_t *end, int deep);

static const uint8_t *blanks(const uint8_t *at, const uint8_t *end)
{
    while (at < end && *at && strchr(" \t\r\n", *at))
        at++;
    return at;
}

static const uint8_t *a_string(const uint8_t *at, const uint8_t *end)
{
    for (at++; at < end && *at != '"';) {
        uint32_t point = *at++;
        int more = point < 0x80 ? 0 : point >> 5 == 6 ? 1 : point >> 4 == 14 ? 2 : point >> 3 == 30 ? 3 : -1;
        if (point < 0x20 || more < 0 || end - at < more)
            return NULL;
        if (more)
            point &= 0x3Fu >> more;
        for (int i = 0; i < more; i++, at++) {
            if (*at >> 6 != 2)
                return NULL;
            point = point << 6 | (*at & 0x3F);
        }
        if (more && (point < (uint32_t[]){0, 0x80, 0x800, 0x10000}[more] || point > 0x10FFFF || point >> 11 == 0x1B))
            return NULL;
        if (point != '\\')
            continue;
        if (at == end || !*at || !strchr("\"\\/bfnrtu", *at))
            return NULL;
        if (*at++ == 'u')
            for (int i = 0; i < 4; i++)
                if (at == end || !isxdigit(*at++))
                    return NULL;
    }
    return at < end ? at + 1 : NULL;
}

static const uint8_t *digits(const uint8_t *at, const uint8_t *end)
{
    const uint8_t *from = at;
    while (at < end && isdigit(*at))
        at++;
    return at > from ? at : NULL;
}

static const uint8_t *a_number(const uint8_t *at, const uint8_t *end)
{
    at += *at == '-';
    at = at < end && *at == '0' ? at + 1 : digits(at, end);
    if (at && at < end && *at == '.')
        at = digits(at + 1, end);
    if (at && at < end && (*at | 32) == 'e') {
        at++;
        at += at < end && (*at == '+' || *at == '-');
        at = digits(at, end);
    }
    return at;
}

static const uint8_t *a_bracket(const uint8_t *at, const uint8_t *end, int deep)
{
    uint8_t close = *at == '{' ? '}' : ']';
    at = blanks(at + 1, end);
    if (at < end && *at == close)
        return at + 1;
    for (;; at = blanks(at + 1, end)) {
        if (close == '}') {
            at = at < end && *at == '"' ? a_string(at, end) : NULL;
            at = at ? blanks(at, end) : NULL;
            if (!at || at == end || *at != ':')
                return NULL;
            at = blanks(at + 1, end);
        }
        at = a_value(at, end, deep - 1);
        at = at ? blanks(at, end) : NULL;
        if (!at || at == end || (*at != ',' && *at != close))
            return NULL;
        if (*at == close)
            return at + 1;
    }
}

static const uint8_t *a_value(const uint8_t *at, const uint8_t *end, int deep)
{
    static const char *const words[] = {"true", "false", "null"};
    if (at == end)
        return NULL;
    if (*at == '{' || *at == '[')
        return deep ? a_bracket(at, end, deep) : NULL;
    if (*at == '"')
        return a_string(at, end);
    for (int i = 0; i < 3; i++)
        if (*at == words[i][0])
            return (size_t)(end - at) >= strlen(words[i]) && !memcmp(at, words[i], strlen(words[i]))
                       ? at + strlen(words[i]) : NULL;
    return a_number(at, end);
}

static bool is_object(const uint8_t *at, size_t size)
{
    const uint8_t *end = at + size;
    at = blanks(at, end);
    at = at < end && *at == '{' ? a_value(at, end, 500) : NULL;
    return at && blanks(at, end) == end;
}
