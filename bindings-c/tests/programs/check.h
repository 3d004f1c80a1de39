/* Shared by the test programs: checks that end the program, a counter to wait on, tokens. C99 and C++17. */
#ifndef CHECK_H
#define CHECK_H

#include <pgentra.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* The limit of every wait, also under Valgrind on a loaded machine. */
#define LIMIT_S 60

#define CHECK(condition)                                              \
  do {                                                                \
    if (!(condition)) {                                               \
      fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
      exit(1);                                                        \
    }                                                                 \
  } while (0)

/* Checks that a call succeeds, and prints its error otherwise. `error` is the variable that the call uses. */
#define OK(call)                                                                                   \
  do {                                                                                             \
    if ((call) != PGENTRA_OK) {                                                                    \
      fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call, pgentra_error_message(error)); \
      exit(1);                                                                                     \
    }                                                                                              \
  } while (0)

/* Checks that a call fails with a kind of error and with an error object of that kind, which is freed. */
#define FAILS(expected, call)                                        \
  do {                                                               \
    CHECK((call) == (expected));                                     \
    CHECK(error != NULL && pgentra_error_kind(error) == (expected)); \
    CHECK(strlen(pgentra_error_message(error)) > 0);                 \
    pgentra_error_free(error);                                       \
    error = NULL;                                                    \
  } while (0)

/* {"upn": "anna@contoso.com", "exp": 4000000000, "oid": "aaaaaaaa-0000-0000-0000-00000000000a"}, without a signature;
 * in two parts, because output that contains a whole token fails the test. */
#define TOKEN                                                                             \
  "e30."                                                                                  \
  "eyJ1cG4iOiAiYW5uYUBjb250b3NvLmNvbSIsICJleHAiOiA0MDAwMDAwMDAwLCAib2lkIjogImFhYWFhYWFhL" \
  "TAwMDAtMDAwMC0wMDAwLTAwMDAwMDAwMDAwYSJ9.sig"

#define SCOPE "https://ossrdbms-aad.database.windows.net/.default"

/* `environment` is set everywhere, so that no test depends on the environment of the process. */
#define STATIC_CONFIG "{\"credential\": {\"type\": \"static_token\", \"token\": \"" TOKEN "\"}, \"environment\": {}}"
#define EMPTY_CONFIG "{\"environment\": {}}"

/* Counts events of other threads. */
typedef struct counter {
  pthread_mutex_t mutex;
  pthread_cond_t changed;
  int count;
} counter;

static inline void counter_init(counter *c) {
  CHECK(pthread_mutex_init(&c->mutex, NULL) == 0);
  CHECK(pthread_cond_init(&c->changed, NULL) == 0);
  c->count = 0;
}

static inline void counter_add(counter *c) {
  pthread_mutex_lock(&c->mutex);
  c->count++;
  pthread_cond_broadcast(&c->changed);
  pthread_mutex_unlock(&c->mutex);
}

static inline int counter_get(counter *c) {
  pthread_mutex_lock(&c->mutex);
  const int count = c->count;
  pthread_mutex_unlock(&c->mutex);
  return count;
}

static inline void counter_wait(counter *c, int count) {
  struct timespec until;
  clock_gettime(CLOCK_REALTIME, &until);
  until.tv_sec += LIMIT_S;
  pthread_mutex_lock(&c->mutex);
  while (c->count < count) CHECK(pthread_cond_timedwait(&c->changed, &c->mutex, &until) == 0);
  pthread_mutex_unlock(&c->mutex);
}

/* Waits a moment, before a check that something has not happened. */
static inline void linger(void) {
  const struct timespec moment = {0, 50 * 1000 * 1000};
  nanosleep(&moment, NULL);
}

static inline pgentra_token_request request_for(const char *scope) {
  pgentra_token_request request = PGENTRA_TOKEN_REQUEST_INIT;
  request.scope = scope;
  return request;
}

/* Ends the engine, so that a leak checker finds what remains, and returns the exit status. */
static inline int finish(void) {
  pgentra_shutdown();
  return 0;
}

#endif
