/* What package pgentra needs beside the header: calls with one pointer to their results, the log's queue and the causes of errors. */

#ifndef PGENTRA_GO_GLUE_H
#define PGENTRA_GO_GLUE_H

#include "pgentra.h"

/* The results of one call. `kind` is PGENTRA_OK or the kind of `error`. */
typedef struct {
  uint64_t id;
  const char *user;
  const char *password;
  const char *source;
  int64_t expires_on;
  int64_t refresh_on;
  pgentra_error *error;
  int32_t kind;
} pgentra_go_result;

static inline void pgentra_go_try_login(const pgentra_provider *provider, pgentra_go_result *result) {
  result->kind = pgentra_provider_try_login(provider, &result->id, &result->user, &result->password, &result->source,
                                            &result->expires_on, &result->error);
}

static inline void pgentra_go_try_get(const pgentra_provider *provider, pgentra_go_result *result) {
  result->kind =
      pgentra_provider_try_get(provider, &result->id, &result->password, &result->expires_on, &result->error);
}

/* An event of the library. The receiver frees it with pgentra_go_event_free(). */
typedef struct pgentra_go_event {
  struct pgentra_go_event *next;
  int32_t level;
  char *target;
  char *message;
} pgentra_go_event;

/* Puts the library's events into a queue, and writes a byte to `wake` when it is no longer empty. */
int32_t pgentra_go_log_start(int32_t wake, pgentra_error **error);

/* Returns the oldest event, or NULL. `dropped` becomes the number of events that did not fit into the queue before it. */
pgentra_go_event *pgentra_go_log_take(uint64_t *dropped);

void pgentra_go_event_free(pgentra_go_event *event);

/* Fails a request with a cause that is known by its id. */
int32_t pgentra_go_request_fail(pgentra_request *request, const char *class_name, const char *message, bool unavailable,
                                uint64_t cause, pgentra_error **error);

/* Returns the id of the cause of an error, or 0. */
uint64_t pgentra_go_cause(const pgentra_error *error);

/* Returns the id of a cause that no error contains any more, or 0. */
uint64_t pgentra_go_take_freed_cause(void);

#endif
