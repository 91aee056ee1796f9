/* A JSON reader (RFC 8259) for one purpose: is this one object, and what are the values of a few keys at its top?
 *
 * Pure: bytes in, values out; no memory of its own, no recursion. Included by plugin.c, which is built by one command.
 */
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#define DEPTH 500 /* of nesting: deeper is refused */

struct value {
    char type;      /* 0 absent, '"' string, '0' number, or the first byte of the others: t f n { [ */
    size_t size;    /* of the decoded string, or of the number as written; `text` keeps what fits of it */
    char text[256]; /* closed by a NUL */
};

struct field {
    const char *name;
    struct value value;
};

struct reader {
    const unsigned char *at, *end;
    size_t depth;
    struct field *fields; /* the keys that are wanted, closed by one without a name */
    struct value *wanted; /* where the next value goes, if it is one of them */
    char open[DEPTH];     /* the brackets that are open */
};

/* The length of the UTF-8 character (RFC 3629) at `at`: 1 to 4, or 0 where there is none. */
static int character(const unsigned char *at, const unsigned char *end)
{
    static const unsigned char low[] = {0x80, 0xA0, 0x80, 0x90, 0x80}, high[] = {0xBF, 0xBF, 0x9F, 0xBF, 0x8F};
    unsigned char first = at[0];
    if (first < 0x80)
        return 1;
    int size = first >= 0xC2 && first <= 0xDF ? 2 : (first & 0xF0) == 0xE0 ? 3 : first >= 0xF0 && first <= 0xF4 ? 4 : 0;
    if (!size || end - at < size)
        return 0;
    int row = first == 0xE0 ? 1 : first == 0xED ? 2 : first == 0xF0 ? 3 : first == 0xF4 ? 4 : 0;
    if (at[1] < low[row] || at[1] > high[row])
        return 0;
    for (int i = 2; i < size; i++)
        if ((at[i] & 0xC0) != 0x80)
            return 0;
    return size;
}

static int peek(struct reader *in)
{
    return in->at < in->end ? *in->at : -1;
}

static void skip_space(struct reader *in)
{
    while (in->at < in->end && (*in->at == ' ' || *in->at == '\t' || *in->at == '\n' || *in->at == '\r'))
        in->at++;
}

static void keep(struct value *value, unsigned byte)
{
    if (value->size < sizeof value->text - 1) {
        value->text[value->size] = (char)byte;
        value->text[value->size + 1] = 0;
    }
    value->size++;
}

static void keep_code_point(struct value *value, unsigned point)
{
    if (point < 0x80) {
        keep(value, point);
        return;
    }
    if (point < 0x800) {
        keep(value, 0xC0 | point >> 6);
    } else if (point < 0x10000) {
        keep(value, 0xE0 | point >> 12);
        keep(value, 0x80 | (point >> 6 & 0x3F));
    } else {
        keep(value, 0xF0 | point >> 18);
        keep(value, 0x80 | (point >> 12 & 0x3F));
        keep(value, 0x80 | (point >> 6 & 0x3F));
    }
    keep(value, 0x80 | (point & 0x3F));
}

/* The four hex digits at `at`; -1 where they are not. */
static long hex(const unsigned char *at, const unsigned char *end)
{
    long number = 0;
    if (end - at < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        unsigned char digit = at[i] | 0x20;
        if (at[i] >= '0' && at[i] <= '9')
            number = number << 4 | (at[i] - '0');
        else if (digit >= 'a' && digit <= 'f')
            number = number << 4 | (digit - 'a' + 10);
        else
            return -1;
    }
    return number;
}

/* What follows a backslash. */
static bool read_escape(struct reader *in, struct value *value)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    int letter = peek(in);
    const char *found = letter > 0 ? strchr(from, letter) : NULL;
    in->at++;
    if (found) {
        keep(value, (unsigned char)to[found - from]);
        return true;
    }
    long point = letter == 'u' ? hex(in->at, in->end) : -1;
    if (point < 0)
        return false;
    in->at += 4;
    if (point >= 0xD800 && point < 0xDC00 && in->end - in->at >= 6 && in->at[0] == '\\' && in->at[1] == 'u') {
        long second = hex(in->at + 2, in->end);
        if (second >= 0xDC00 && second < 0xE000) {
            point = 0x10000 + ((point - 0xD800) << 10) + (second - 0xDC00);
            in->at += 6;
        }
    }
    keep_code_point(value, (unsigned)point);
    return true;
}

static bool read_string(struct reader *in, struct value *value)
{
    in->at++;
    *value = (struct value){.type = '"'};
    while (in->at < in->end) {
        int size = character(in->at, in->end);
        if (*in->at == '"') {
            in->at++;
            return true;
        }
        if (*in->at < 0x20 || !size)
            return false;
        if (*in->at == '\\') {
            in->at++;
            if (!read_escape(in, value))
                return false;
            continue;
        }
        while (size--)
            keep(value, *in->at++);
    }
    return false;
}

static bool skip_digits(struct reader *in)
{
    const unsigned char *from = in->at;
    while (in->at < in->end && *in->at >= '0' && *in->at <= '9')
        in->at++;
    return in->at > from;
}

static bool read_number(struct reader *in, struct value *value)
{
    const unsigned char *from = in->at;
    if (peek(in) == '-')
        in->at++;
    if (peek(in) == '0')
        in->at++;
    else if (!skip_digits(in))
        return false;
    if (peek(in) == '.' && (in->at++, !skip_digits(in)))
        return false;
    if (peek(in) == 'e' || peek(in) == 'E') {
        in->at++;
        if (peek(in) == '+' || peek(in) == '-')
            in->at++;
        if (!skip_digits(in))
            return false;
    }
    *value = (struct value){.type = '0'};
    for (; from < in->at; from++)
        keep(value, *from);
    return true;
}

static bool read_word(struct reader *in, const char *word, struct value *value)
{
    size_t size = strlen(word);
    if ((size_t)(in->end - in->at) < size || memcmp(in->at, word, size))
        return false;
    in->at += size;
    *value = (struct value){.type = word[0]};
    return true;
}

/* A key, and the colon after it; at the top it says where its value goes. */
static bool read_key(struct reader *in)
{
    struct value key;
    if (peek(in) != '"' || !read_string(in, &key))
        return false;
    skip_space(in);
    if (peek(in) != ':')
        return false;
    in->at++;
    in->wanted = NULL;
    for (struct field *one = in->fields; one->name && in->depth == 1; one++)
        if (key.size == strlen(one->name) && !memcmp(key.text, one->name, key.size))
            in->wanted = &one->value;
    return true;
}

/* Reads a scalar, or opens a bracket; `*closed` says whether a value has ended. */
static bool read_value(struct reader *in, bool *closed)
{
    struct value other, *value = in->wanted ? in->wanted : &other;
    int first = peek(in);
    in->wanted = NULL;
    *closed = first != '{' && first != '[';
    switch (first) {
    case '"':
        return read_string(in, value);
    case 't':
        return read_word(in, "true", value);
    case 'f':
        return read_word(in, "false", value);
    case 'n':
        return read_word(in, "null", value);
    case '{':
    case '[':
        if (in->depth == DEPTH)
            return false;
        *value = (struct value){.type = (char)first};
        in->open[in->depth++] = (char)first;
        in->at++;
        skip_space(in);
        if (peek(in) == first + 2) { /* '}' is '{' + 2, and ']' is '[' + 2 */
            in->at++;
            in->depth--;
            *closed = true;
            return true;
        }
        return first == '[' || read_key(in);
    default:
        return read_number(in, value);
    }
}

/* After a value: a comma and the start of the next one, or a closing bracket. */
static bool read_on(struct reader *in, bool *closed)
{
    char open = in->open[in->depth - 1];
    int next = peek(in);
    in->at++;
    if (next == ',') {
        skip_space(in);
        *closed = false;
        return open == '[' || read_key(in);
    }
    in->depth--;
    return next == open + 2;
}

/* Whether the bytes are one JSON object; the fields' values are filled in, a later key over an earlier. */
static bool read_object(const unsigned char *bytes, size_t size, struct field *fields)
{
    struct reader in = {.at = bytes, .end = bytes + size, .fields = fields};
    bool closed = false;
    skip_space(&in);
    if (peek(&in) != '{')
        return false;
    do {
        skip_space(&in);
        if (!(closed ? read_on(&in, &closed) : read_value(&in, &closed)))
            return false;
    } while (in.depth);
    skip_space(&in);
    return in.at == in.end;
}
