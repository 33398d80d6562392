/* SPDX-License-Identifier: MIT */
/* Head and tail of an output; hides where it is cut and the ring of its end. */
#include "capture.h"

#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "base/fail.h"
#include "base/url.h"

#define HEAD_LINES 500
#define FIRST_CAPACITY 4096u

/* The longest marker with the newlines around it; below twice its length a
 * limit leaves no room for one, and only the head is kept. */
#define MARKER_MAX 80u

/*
 * While everything fits, data[0..length) is the output. The first byte too
 * many closes the head at `head` and makes what follows a ring: data[head..
 * room), full at all times, whose oldest byte stands at `head + start`.
 */
struct ex_capture {
    size_t limit;
    size_t room; /* the limit, or less when memory ran out */
    char *data;
    size_t length;
    size_t capacity;
    size_t head;
    size_t start;
    int32_t ringed;
    uint64_t total;
    uint64_t lost_bytes; /* between head and ring */
    uint64_t lost_lines;
    ex_buf text;
};

static uint64_t count_lines(const char *data, size_t length)
{
    uint64_t lines = 0;
    const char *end = data + length;

    while (data < end) {
        data = memchr(data, '\n', (size_t)(end - data));
        if (!data)
            break;
        lines++;
        data++;
    }
    return lines;
}

static size_t skip_continuation(const char *data, size_t length)
{
    size_t i = 0;

    while (i < length && i < 3 && ((unsigned char)data[i] & 0xc0) == 0x80)
        i++;
    return i;
}

/* Where the head of a text that is longer than `limit` ends. */
static size_t head_length(const char *data, size_t limit)
{
    size_t end = 0;

    if (limit < 2 * MARKER_MAX)
        return ex_utf8_cut(data, limit);
    for (int line = 0; line < HEAD_LINES; line++) {
        const char *newline = memchr(data + end, '\n', limit / 2 - end);
        if (!newline)
            break;
        end = (size_t)(newline - data) + 1;
    }
    return end ? end : ex_utf8_cut(data, limit / 2);
}

/* Where in a tail of `length` bytes its last whole lines begin, if `room` bytes
 * of it may stay. A single line too long for that keeps its end. */
static size_t tail_start(const char *tail, size_t length, size_t room)
{
    if (length <= room)
        return 0;
    size_t at = length - room;
    if (tail[at - 1] == '\n')
        return at;
    const char *newline = memchr(tail + at, '\n', length - at);
    if (newline && newline + 1 < tail + length)
        return (size_t)(newline - tail) + 1;
    return at + skip_continuation(tail + at, length - at);
}

typedef struct cut_text {
    const char *head;
    size_t head_length;
    const char *tail; /* contiguous */
    size_t tail_length;
    uint64_t lost_bytes;
    uint64_t lost_lines;
} cut_text;

/* Append head, marker and tail, at most `limit` bytes. */
static void compose(const cut_text *cut, size_t limit, ex_buf *out)
{
    ex_buf_add(out, cut->head, cut->head_length);
    if (limit < 2 * MARKER_MAX)
        return;
    size_t room = limit - cut->head_length - MARKER_MAX;
    size_t skip = tail_start(cut->tail, cut->tail_length, room);
    uint64_t lines = cut->lost_lines + count_lines(cut->tail, skip);
    if (skip == 0 || cut->tail[skip - 1] != '\n')
        lines++; /* the line whose beginning is missing */
    int32_t inside =
        cut->head_length > 0 && cut->head[cut->head_length - 1] != '\n';
    ex_buf_printf(
        out, "%s[... %" PRIu64 " bytes, %" PRIu64 " lines cut ...]\n",
        inside ? "\n" : "", cut->lost_bytes + skip, lines);
    ex_buf_add(out, cut->tail + skip, cut->tail_length - skip);
}

executr_status ex_capture_open(
    size_t limit, ex_capture **out, executr_error *err)
{
    void *memory;

    *out = NULL;
    executr_status st = ex_alloc(&memory, sizeof **out, err);
    if (st)
        return st;
    ex_capture *capture = memory;
    capture->limit = limit;
    capture->capacity = limit < FIRST_CAPACITY ? limit : FIRST_CAPACITY;
    ex_buf_init(&capture->text, EX_BUF_UNLIMITED);
    st = ex_alloc(&memory, capture->capacity + 1, err);
    if (st) {
        ex_free(capture);
        return st;
    }
    capture->data = memory;
    ex_capture_reset(capture);
    *out = capture;
    return EXECUTR_OK;
}

void ex_capture_free(ex_capture *capture)
{
    if (!capture)
        return;
    ex_buf_clear(&capture->text);
    ex_free(capture->data);
    ex_free(capture);
}

void ex_capture_reset(ex_capture *capture)
{
    capture->room = capture->limit;
    capture->length = 0;
    capture->head = 0;
    capture->start = 0;
    capture->ringed = 0;
    capture->total = 0;
    capture->lost_bytes = 0;
    capture->lost_lines = 0;
    ex_buf_clear(&capture->text);
}

/* Make room for `more` bytes, as far as the limit goes; what there is becomes
 * the limit if memory is out. */
static executr_status grow(ex_capture *capture, size_t more, executr_error *err)
{
    size_t left = capture->room - capture->length;
    size_t needed = capture->length + (more < left ? more : left);

    if (needed <= capture->capacity)
        return EXECUTR_OK;
    size_t capacity = capture->capacity;
    while (capacity < needed)
        capacity = capacity > capture->room / 2 ? capture->room : capacity * 2;
    void *memory = capture->data;
    executr_status st = ex_realloc(&memory, capacity + 1, err);
    if (st) {
        capture->room = capture->capacity;
        return st;
    }
    capture->data = memory;
    capture->capacity = capacity;
    return EXECUTR_OK;
}

/* Put bytes over the oldest ones of the ring, counting what they destroy. */
static void overwrite(ex_capture *capture, const char *data, size_t length)
{
    size_t size = capture->room - capture->head;
    char *ring = capture->data + capture->head;

    capture->lost_bytes += length;
    if (length > size) {
        /* More than a ring full: its first part passes through. */
        capture->lost_lines += count_lines(data, length - size);
        data += length - size;
        length = size;
    }
    while (length > 0) {
        size_t n = size - capture->start;
        if (n > length)
            n = length;
        capture->lost_lines += count_lines(ring + capture->start, n);
        memcpy(ring + capture->start, data, n);
        capture->start = (capture->start + n) % size;
        data += n;
        length -= n;
    }
}

executr_status ex_capture_add(
    ex_capture *capture, const void *data, size_t length, executr_error *err)
{
    const char *from = data;
    executr_status st = EXECUTR_OK;

    capture->total += length;
    if (!capture->ringed) {
        st = grow(capture, length, err);
        size_t left = capture->room - capture->length;
        size_t n = length < left ? length : left;
        if (n)
            memcpy(capture->data + capture->length, from, n);
        capture->length += n;
        from += n;
        length -= n;
    }
    if (!length)
        return st;
    if (!capture->ringed) {
        capture->head = head_length(capture->data, capture->room);
        capture->ringed = 1;
    }
    if (capture->head < capture->room) {
        overwrite(capture, from, length);
    } else {
        capture->lost_bytes += length;
        capture->lost_lines += count_lines(from, length);
    }
    return st;
}

uint64_t ex_capture_total(const ex_capture *capture)
{
    return capture->total;
}

/* Bytes from `from` on of the ring, the oldest being 0. */
static void copy_ring(
    const ex_capture *capture, size_t from, char *data, size_t length)
{
    const char *ring = capture->data + capture->head;
    size_t size = capture->room - capture->head;
    size_t at = (capture->start + from) % size;
    size_t first = size - at < length ? size - at : length;

    memcpy(data, ring + at, first);
    memcpy(data + first, ring, length - first);
}

static size_t at_most(uint64_t length, size_t size)
{
    return length < size ? (size_t)length : size;
}

/* The part behind the gap, from `offset` or from its first whole line on. */
static size_t read_tail(
    const ex_capture *capture, uint64_t offset, char *data, size_t size,
    uint64_t *at)
{
    uint64_t oldest = capture->total - (capture->room - capture->head);

    *at = offset > oldest ? offset : oldest;
    if (*at >= capture->total)
        return 0;
    size_t length = at_most(capture->total - *at, size);
    copy_ring(capture, (size_t)(*at - oldest), data, length);
    if (*at == offset)
        return length;
    const char *newline = memchr(data, '\n', length);
    size_t skip = newline && newline + 1 < data + length
                      ? (size_t)(newline + 1 - data)
                      : skip_continuation(data, length);
    memmove(data, data + skip, length - skip);
    *at += skip;
    return length - skip;
}

size_t ex_capture_read(
    const ex_capture *capture, uint64_t offset, char *data, size_t size,
    uint64_t *at)
{
    size_t kept = capture->ringed ? capture->head : capture->length;

    *at = offset;
    if (offset < kept) {
        size_t length = at_most(kept - offset, size);
        memcpy(data, capture->data + offset, length);
        return length;
    }
    if (!capture->ringed || capture->head == capture->room)
        return 0;
    return read_tail(capture, offset, data, size, at);
}

static void reverse(char *data, size_t from, size_t to)
{
    while (from + 1 < to) {
        char c = data[from];
        data[from++] = data[--to];
        data[to] = c;
    }
}

/* Turn the ring so that its oldest byte stands first. */
static void straighten(ex_capture *capture)
{
    char *ring = capture->data + capture->head;
    size_t size = capture->room - capture->head;

    if (!capture->start)
        return;
    reverse(ring, 0, capture->start);
    reverse(ring, capture->start, size);
    reverse(ring, 0, size);
    capture->start = 0;
}

executr_status ex_capture_text(
    ex_capture *capture, const char **out, size_t *length, executr_error *err)
{
    if (!capture->ringed) {
        *out = capture->data;
        *length = capture->length;
        return EXECUTR_OK;
    }
    straighten(capture);
    cut_text cut = {
        capture->data,
        capture->head,
        capture->data + capture->head,
        capture->room - capture->head,
        capture->lost_bytes,
        capture->lost_lines};
    ex_buf_reset(&capture->text);
    compose(&cut, capture->room, &capture->text);
    *out = ex_buf_text(&capture->text);
    *length = capture->text.length;
    return ex_buf_status(&capture->text, "output", err);
}

executr_status ex_capture_cut(
    const void *data, size_t length, size_t limit, ex_buf *out,
    executr_error *err)
{
    const char *text = data;

    if (length <= limit) {
        ex_buf_add(out, text, length);
        return ex_buf_status(out, "output", err);
    }
    cut_text cut = {.head = text, .head_length = head_length(text, limit)};
    cut.tail_length = limit - cut.head_length;
    cut.tail = text + length - cut.tail_length;
    cut.lost_bytes = length - limit;
    cut.lost_lines = count_lines(text + cut.head_length, length - limit);
    compose(&cut, limit, out);
    return ex_buf_status(out, "output", err);
}

/* A number at *at, which moves behind it; 0 if there is none. */
static int32_t read_number(const char **at, const char *end, uint64_t *out)
{
    const char *from = *at;

    *out = 0;
    while (*at < end && **at >= '0' && **at <= '9' && *at - from < 18)
        *out = *out * 10 + (uint64_t)(*(*at)++ - '0');
    return *at > from;
}

static int32_t read_word(const char **at, const char *end, const char *word)
{
    size_t length = strlen(word);

    if ((size_t)(end - *at) < length || memcmp(*at, word, length) != 0)
        return 0;
    *at += length;
    return 1;
}

/* Behind the line that says what was cut, if one stands here; else NULL. */
static const char *read_marker(const char *at, const char *end, uint64_t *bytes)
{
    uint64_t lines;
    int32_t found =
        read_word(&at, end, "[... ") && read_number(&at, end, bytes) &&
        read_word(&at, end, " bytes, ") && read_number(&at, end, &lines) &&
        read_word(&at, end, " lines cut ...]\n");

    return found ? at : NULL;
}

/*
 * Ours stands behind the 500th line or, where fewer fit, before any other. A
 * head without a line end of its own, which fills half of the text, was given
 * one.
 */
int32_t ex_capture_gap(const char *text, size_t length, ex_gap *out)
{
    const char *end = text + length;
    const char *line = text;
    int32_t found = 0;

    for (int number = 0; line && line < end && number <= HEAD_LINES; number++) {
        uint64_t bytes;
        const char *behind = read_marker(line, end, &bytes);
        if (behind && (!found || number == HEAD_LINES)) {
            size_t head = (size_t)(line - text);
            int32_t given = number == 1 && 2 * (head + 3) >= length;
            out->head = head - (size_t)given;
            out->tail = (size_t)(behind - text);
            out->tail_at = out->head + bytes;
            found = 1;
        }
        line = memchr(line, '\n', (size_t)(end - line));
        line = line ? line + 1 : NULL;
    }
    return found;
}
