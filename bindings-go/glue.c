#include "glue.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* No thread of the library calls Go: callbacks put events and freed causes into queues, which Go empties. */

enum { MAX_EVENTS = 1024 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pgentra_go_event *first_event, *last_event;
static size_t event_count;
static uint64_t dropped_events;

static void on_event(void *user_data, int32_t level, const char *target, const char *message) {
  pgentra_go_event *event = malloc(sizeof *event);
  bool was_empty = false, is_kept = false;

  if (event != NULL) {
    *event = (pgentra_go_event){NULL, level, strdup(target), strdup(message)};
  }
  pthread_mutex_lock(&lock);
  if (event == NULL || event->target == NULL || event->message == NULL || event_count == MAX_EVENTS) {
    dropped_events++;
  } else {
    is_kept = true;
    was_empty = first_event == NULL;
    if (was_empty) {
      first_event = event;
    } else {
      last_event->next = event;
    }
    last_event = event;
    event_count++;
  }
  pthread_mutex_unlock(&lock);
  if (!is_kept) pgentra_go_event_free(event);
  /* The pipe has at most one byte for each time that the queue was emptied, so that it is never full. */
  if (was_empty && write((int)(intptr_t)user_data, "", 1) < 0) {
    return; /* The reader has gone; the events are bounded. */
  }
}

int32_t pgentra_go_log_start(int32_t wake, pgentra_error **error) {
  return pgentra_set_log_callback(PGENTRA_LOG_DEBUG, on_event, (void *)(intptr_t)wake, NULL, error);
}

pgentra_go_event *pgentra_go_log_take(uint64_t *dropped) {
  pthread_mutex_lock(&lock);
  pgentra_go_event *event = first_event;
  if (event != NULL) {
    first_event = event->next;
    event_count--;
  }
  *dropped = dropped_events;
  dropped_events = 0;
  pthread_mutex_unlock(&lock);
  return event;
}

void pgentra_go_event_free(pgentra_go_event *event) {
  if (event == NULL) return;
  free(event->target);
  free(event->message);
  free(event);
}

typedef struct cause {
  struct cause *next;
  uint64_t id;
} cause;

static cause *freed_causes;

static void on_cause_freed(void *user_data) {
  cause *freed = user_data;
  pthread_mutex_lock(&lock);
  freed->next = freed_causes;
  freed_causes = freed;
  pthread_mutex_unlock(&lock);
}

int32_t pgentra_go_request_fail(pgentra_request *request, const char *class_name, const char *message, bool unavailable,
                                uint64_t id, pgentra_error **error) {
  cause *made = malloc(sizeof *made);
  if (made != NULL) *made = (cause){NULL, id};
  return pgentra_request_fail(request, class_name, message, unavailable, made, on_cause_freed, error);
}

uint64_t pgentra_go_cause(const pgentra_error *error) {
  const cause *found = pgentra_error_cause(error);
  return found == NULL ? 0 : found->id;
}

uint64_t pgentra_go_take_freed_cause(void) {
  pthread_mutex_lock(&lock);
  cause *freed = freed_causes;
  if (freed != NULL) freed_causes = freed->next;
  pthread_mutex_unlock(&lock);
  uint64_t id = freed == NULL ? 0 : freed->id;
  free(freed);
  return id;
}
