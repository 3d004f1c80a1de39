/* Asynchronous functions: the callback is called exactly once. */
#include "check.h"

/* Data that other threads may use after a function has returned is static. */

/* A credential that responds after `gate` is counted up. */
typedef struct slow {
  counter requests, gate;
} slow;

static void respond_late(void *user_data, pgentra_request *request, const pgentra_token_request *wanted) {
  slow *s = (slow *)user_data;
  CHECK(strcmp(wanted->scope, SCOPE) == 0 && wanted->tenant_id == NULL && wanted->claims == NULL);
  counter_add(&s->requests);
  counter_wait(&s->gate, 1);
  pgentra_request_respond(request, TOKEN, 0, 0, NULL);
}

static void slow_init(slow *s, pgentra_provider **provider) {
  pgentra_error *error = NULL;
  pgentra_credential *credential = NULL;
  counter_init(&s->requests);
  counter_init(&s->gate);
  OK(pgentra_credential_callback("Slow", respond_late, s, NULL, &credential, &error));
  OK(pgentra_provider_open_with(EMPTY_CONFIG, credential, provider, &error));
  pgentra_credential_close(credential);
}

/* The outcome that a callback received. */
typedef struct received {
  counter calls;
  int32_t code;
  const char *token;
  char user[64];
  const char *source;
  int64_t expires_on, refresh_on;
  uint64_t id;
  pgentra_error *error;
} received;

static void received_init(received *t) {
  memset(t, 0, sizeof *t);
  counter_init(&t->calls);
}

static void receive(void *user_data, const pgentra_outcome *outcome) {
  received *t = (received *)user_data;
  CHECK((outcome->code == PGENTRA_OK) == (outcome->error == NULL));
  CHECK(outcome->error == NULL || pgentra_error_kind(outcome->error) == outcome->code);
  t->code = outcome->code;
  t->token = pgentra_string_retain(outcome->token);
  t->error = pgentra_error_retain(outcome->error);
  t->source = pgentra_string_retain(outcome->user_source);
  t->expires_on = outcome->expires_on;
  t->refresh_on = outcome->refresh_on;
  t->id = outcome->id;
  if (outcome->user != NULL) snprintf(t->user, sizeof t->user, "%s", outcome->user);
  counter_add(&t->calls);
}

/* Checks that the callback was called once, with `code`. */
static void received_check(received *t, int32_t code) {
  counter_wait(&t->calls, 1);
  linger();
  CHECK(counter_get(&t->calls) == 1);
  CHECK(t->code == code);
  pgentra_string_free(t->token);
  pgentra_string_free(t->source);
  pgentra_error_free(t->error);
}

static void success(void) {
  pgentra_error *error = NULL;
  pgentra_provider *provider = NULL;
  pgentra_operation *operation = NULL;
  static received get, login, warm, none;
  received_init(&get), received_init(&login), received_init(&warm), received_init(&none);
  OK(pgentra_provider_open(STATIC_CONFIG, &provider, &error));
  OK(pgentra_provider_get_async(provider, -1, receive, &get, &operation, &error));
  counter_wait(&get.calls, 1);
  CHECK(strcmp(get.token, TOKEN) == 0 && get.expires_on == 4000000000LL && get.id != 0);
  /* The callback has been called. */
  OK(pgentra_operation_cancel(operation, &error));
  pgentra_operation_free(operation);
  pgentra_operation_free(operation);
  FAILS(PGENTRA_INVALID_ARGUMENT, pgentra_operation_cancel(operation, &error));
  received_check(&get, PGENTRA_OK);
  OK(pgentra_provider_login_async(provider, -1, receive, &login, NULL, &error));
  counter_wait(&login.calls, 1);
  CHECK(strcmp(login.user, "anna@contoso.com") == 0 && strcmp(login.source, "upn") == 0);
  received_check(&login, PGENTRA_OK);
  OK(pgentra_provider_get_async(provider, 0, receive, &warm, NULL, &error));
  counter_wait(&warm.calls, 1);
  CHECK(warm.id == get.id);
  received_check(&warm, PGENTRA_OK);
  OK(pgentra_provider_invalidate_async(provider, TOKEN, -1, receive, &none, NULL, &error));
  counter_wait(&none.calls, 1);
  CHECK(none.token == NULL && none.id == 0);
  received_check(&none, PGENTRA_OK);
  pgentra_provider_close(provider);

  pgentra_credential *credential = NULL;
  static received token;
  received_init(&token);
  const pgentra_token_request request = request_for(SCOPE);
  OK(pgentra_credential_open(STATIC_CONFIG, NULL, 0, &credential, &error));
  OK(pgentra_credential_get_token_async(credential, &request, -1, receive, &token, NULL, &error));
  counter_wait(&token.calls, 1);
  CHECK(strcmp(token.token, TOKEN) == 0 && token.expires_on == 4000000000LL);
  CHECK(token.refresh_on > time(NULL) && token.refresh_on < token.expires_on);
  uint64_t id = token.id;
  const char *known = NULL;
  OK(pgentra_credential_try_get_token(credential, &request, &id, &known, NULL, NULL, &error));
  CHECK(id != 0 && id == token.id && known == NULL);
  received_check(&token, PGENTRA_OK);
  pgentra_credential_close(credential);
}

static void failure(void) {
  pgentra_error *error = NULL;
  pgentra_provider *provider = NULL;
  static received t;
  received_init(&t);
  OK(pgentra_provider_open("{\"credential\": {\"type\": \"environment\"}, \"environment\": {}}", &provider, &error));
  OK(pgentra_provider_login_async(provider, -1, receive, &t, NULL, &error));
  counter_wait(&t.calls, 1);
  CHECK(strstr(pgentra_error_message(t.error), "AZURE_TENANT_ID") != NULL);
  received_check(&t, PGENTRA_CREDENTIAL_UNAVAILABLE);
  pgentra_provider_close(provider);
}

/* A cancelled wait ends at once; the fetch continues for other callers. */
static void cancel(void) {
  pgentra_error *error = NULL;
  pgentra_provider *provider = NULL;
  pgentra_operation *operation = NULL;
  static slow s;
  static received cancelled, other;
  slow_init(&s, &provider);
  received_init(&cancelled), received_init(&other);
  OK(pgentra_provider_get_async(provider, -1, receive, &cancelled, &operation, &error));
  OK(pgentra_provider_get_async(provider, -1, receive, &other, NULL, &error));
  counter_wait(&s.requests, 1);
  OK(pgentra_operation_cancel(operation, &error));
  OK(pgentra_operation_cancel(operation, &error));
  pgentra_operation_free(operation);
  received_check(&cancelled, PGENTRA_CANCELLED);
  CHECK(counter_get(&other.calls) == 0);
  counter_add(&s.gate);
  received_check(&other, PGENTRA_OK);
  CHECK(counter_get(&s.requests) == 1);
  pgentra_provider_close(provider);
}

static void close_during_calls(void) {
  pgentra_error *error = NULL;
  pgentra_provider *provider = NULL;
  static slow s;
  static received one, two;
  slow_init(&s, &provider);
  received_init(&one), received_init(&two);
  OK(pgentra_provider_get_async(provider, -1, receive, &one, NULL, &error));
  OK(pgentra_provider_login_async(provider, -1, receive, &two, NULL, &error));
  counter_wait(&s.requests, 1);
  pgentra_provider_close(provider);
  received_check(&one, PGENTRA_CANCELLED);
  received_check(&two, PGENTRA_CANCELLED);
  counter_add(&s.gate);
}

static void time_limit(void) {
  pgentra_error *error = NULL;
  pgentra_provider *provider = NULL;
  const char *token = NULL;
  static slow s;
  static received t;
  slow_init(&s, &provider);
  received_init(&t);
  OK(pgentra_provider_get_async(provider, 20, receive, &t, NULL, &error));
  received_check(&t, PGENTRA_TIMEOUT);
  FAILS(PGENTRA_TIMEOUT, pgentra_provider_get(provider, 20, &token, NULL, &error));
  counter_add(&s.gate);
  OK(pgentra_provider_get(provider, -1, &token, NULL, &error));
  pgentra_string_free(token);
  pgentra_provider_close(provider);
}

#define CALLERS 200

static void many_wait_for_one_fetch(void) {
  static received all[CALLERS];
  pgentra_error *error = NULL;
  pgentra_provider *provider = NULL;
  static slow s;
  slow_init(&s, &provider);
  for (int i = 0; i < CALLERS; i++) {
    received_init(&all[i]);
    OK(pgentra_provider_get_async(provider, -1, receive, &all[i], NULL, &error));
  }
  counter_add(&s.gate);
  for (int i = 0; i < CALLERS; i++) {
    counter_wait(&all[i].calls, 1);
    CHECK(all[i].code == PGENTRA_OK && strcmp(all[i].token, TOKEN) == 0);
    pgentra_string_free(all[i].token);
  }
  CHECK(counter_get(&s.requests) == 1);
  pgentra_provider_close(provider);
}

/* A callback that blocks until another one has been called, and one that calls the library. */
typedef struct busy {
  pgentra_provider *provider;
  counter other, done;
} busy;

static void count(void *user_data, const pgentra_outcome *outcome) {
  CHECK(outcome->code == PGENTRA_OK);
  counter_add((counter *)user_data);
}

static void blocks(void *user_data, const pgentra_outcome *outcome) {
  busy *b = (busy *)user_data;
  CHECK(outcome->code == PGENTRA_OK);
  counter_wait(&b->other, 1);
  counter_add(&b->done);
}

static void calls_the_library(void *user_data, const pgentra_outcome *outcome) {
  busy *b = (busy *)user_data;
  pgentra_error *error = NULL;
  pgentra_provider *fresh = NULL;
  const char *token = NULL;
  CHECK(outcome->code == PGENTRA_OK);
  OK(pgentra_provider_get(b->provider, -1, &token, NULL, &error));
  pgentra_string_free(token);
  /* Without a cached token: it blocks here while the engine fetches. */
  OK(pgentra_provider_open("{\"credential\": {\"type\": \"static_token\", \"token\": \"" TOKEN
                           "\"}, \"scope\": \"api://another\", \"environment\": {}}",
                           &fresh, &error));
  OK(pgentra_provider_get(fresh, -1, &token, NULL, &error));
  pgentra_string_free(token);
  pgentra_provider_close(fresh);
  OK(pgentra_provider_get_async(b->provider, -1, count, &b->other, NULL, &error));
  pgentra_provider_close(b->provider);
}

static void callbacks_may_block_and_call_the_library(void) {
  pgentra_error *error = NULL;
  static busy b;
  counter_init(&b.other), counter_init(&b.done);
  OK(pgentra_provider_open(STATIC_CONFIG, &b.provider, &error));
  OK(pgentra_provider_get_async(b.provider, -1, blocks, &b, NULL, &error));
  OK(pgentra_provider_get_async(b.provider, -1, calls_the_library, &b, NULL, &error));
  counter_wait(&b.done, 1);
}

/* At the end of the process. Later calls fetch nothing. */
static void shutdown(void) {
  pgentra_error *error = NULL;
  pgentra_provider *provider = NULL, *later = NULL;
  const char *token = NULL;
  static slow s;
  static received t, after;
  slow_init(&s, &provider);
  received_init(&t), received_init(&after);
  OK(pgentra_provider_get_async(provider, -1, receive, &t, NULL, &error));
  counter_wait(&s.requests, 1);
  pgentra_shutdown();
  received_check(&t, PGENTRA_SHUTTING_DOWN);
  OK(pgentra_provider_open("{\"credential\": {\"type\": \"environment\"}, \"environment\": {}}", &later, &error));
  FAILS(PGENTRA_SHUTTING_DOWN, pgentra_provider_get(later, -1, &token, NULL, &error));
  OK(pgentra_provider_get_async(later, -1, receive, &after, NULL, &error));
  received_check(&after, PGENTRA_SHUTTING_DOWN);
  counter_add(&s.gate);
  pgentra_provider_close(later);
  pgentra_provider_close(provider);
  pgentra_shutdown();
}

int main(void) {
  success();
  failure();
  cancel();
  close_during_calls();
  time_limit();
  many_wait_for_one_fetch();
  callbacks_may_block_and_call_the_library();
  shutdown();
  return 0;
}
