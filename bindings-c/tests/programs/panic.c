/* A failpoint in every export and every task: its panic becomes an error of kind PGENTRA_INTERNAL, the callback is
 * called once, and the library continues. It needs a build with the feature testing. */
#include "check.h"

#ifdef __cplusplus
extern "C"
#endif
    void pgentra_set_failpoint(const char *place);

static counter calls, finalized;
static int32_t last_code;
static pgentra_provider *provider;
static pgentra_credential *credential;

static void done(void *user_data, const pgentra_outcome *outcome) {
  (void)user_data;
  last_code = outcome->code;
  counter_add(&calls);
}

static void request_token(void *user_data, pgentra_request *request, const pgentra_token_request *wanted) {
  (void)user_data, (void)wanted;
  pgentra_request_respond(request, TOKEN, 0, 0, NULL);
}

static void finalize(void *user_data) {
  (void)user_data;
  counter_add(&finalized);
}

static void receive(void *user_data, int32_t level, const char *target, const char *message) {
  (void)user_data, (void)level, (void)target, (void)message;
}

/* The export of that name panics in this call and returns an error; outputs are unchanged. */
#define PANICS(name, ...)                                                   \
  do {                                                                      \
    pgentra_set_failpoint(#name);                                           \
    CHECK(name(__VA_ARGS__, &error) == PGENTRA_INTERNAL);                   \
    CHECK(strstr(pgentra_error_message(error), #name " panicked") != NULL); \
    pgentra_error_free(error);                                              \
    error = NULL;                                                           \
  } while (0)

static void exports_that_can_fail(void) {
  pgentra_error *error = NULL;
  const pgentra_token_request request = request_for(SCOPE);
  const char *const untouched = "untouched";
  const char *text = untouched, *other = untouched;
  pgentra_provider *opened = NULL;
  pgentra_credential *made = NULL;
  pgentra_operation *operation = NULL;
  pgentra_request *request_handle = NULL;
  const pgentra_token_request *wanted = NULL;
  const char *const names[] = {NULL};
  uint64_t id = 7;
  int64_t expires_on = 7;
  PANICS(pgentra_set_log_callback, PGENTRA_LOG_DEBUG, receive, NULL, NULL);
  PANICS(pgentra_set_log_queue, PGENTRA_LOG_DEBUG);
  PANICS(pgentra_log_next, NULL, NULL, &text);
  PANICS(pgentra_stats, &text);
  PANICS(pgentra_error_new, PGENTRA_TIMEOUT, "text", NULL, NULL);
  PANICS(pgentra_error_kinds, &text);
  PANICS(pgentra_provider_open, STATIC_CONFIG, &opened);
  PANICS(pgentra_provider_open_with, EMPTY_CONFIG, credential, &opened);
  PANICS(pgentra_provider_get, provider, -1, &text, &expires_on);
  PANICS(pgentra_provider_try_get, provider, &id, &text, &expires_on);
  PANICS(pgentra_provider_get_async, provider, -1, done, NULL, &operation);
  PANICS(pgentra_provider_login, provider, -1, &text, &other, NULL, &expires_on);
  PANICS(pgentra_provider_try_login, provider, &id, &text, &other, NULL, &expires_on);
  PANICS(pgentra_provider_login_async, provider, -1, done, NULL, &operation);
  PANICS(pgentra_provider_invalidate, provider, TOKEN, -1, &text);
  PANICS(pgentra_provider_invalidate_async, provider, TOKEN, -1, done, NULL, &operation);
  PANICS(pgentra_provider_stats, provider, &text);
  PANICS(pgentra_operation_cancel, operation);
  PANICS(pgentra_credential_open, STATIC_CONFIG, NULL, 0, &made);
  PANICS(pgentra_credential_callback, "Mine", request_token, NULL, finalize, &made);
  PANICS(pgentra_credential_queue, "Mine", &made);
  PANICS(pgentra_request_next, credential, 0, &request_handle, &wanted);
  PANICS(pgentra_options_to_json, names, names, &text);
  PANICS(pgentra_credential_get_token, credential, &request, -1, &text, &expires_on);
  PANICS(pgentra_credential_try_get_token, credential, &request, &id, &text, &expires_on, &expires_on);
  PANICS(pgentra_credential_get_token_async, credential, &request, -1, done, NULL, &operation);
  PANICS(pgentra_config_check, STATIC_CONFIG);
  PANICS(pgentra_request_respond, NULL, TOKEN, 0, 0);
  PANICS(pgentra_request_fail, NULL, "Class", "text", false, NULL, NULL);
  PANICS(pgentra_request_abandon, NULL);
  PANICS(pgentra_decode_jwt, TOKEN, &text);
  PANICS(pgentra_describe_token, TOKEN, &text);
  PANICS(pgentra_parse_principal_name, "id", &text);
  PANICS(pgentra_resolve_cloud, NULL, NULL, NULL, NULL, NULL, &text);
  PANICS(pgentra_connection_read, "host=db", "libpq", &text);
  PANICS(pgentra_connection_plan, "{}", &text);
  PANICS(pgentra_connection_url, "{}", NULL, &text);
  PANICS(pgentra_connection_variables, &text);
  PANICS(pgentra_login_error_explain, NULL, "no", "app", NULL, NULL, NULL, NULL, &text);
  PANICS(pgentra_known_variables, &text);
  PANICS(pgentra_json_get, "{}", "key", &text);
  CHECK(text == untouched && other == untouched && opened == NULL && made == NULL && operation == NULL);
  CHECK(id == 7 && expires_on == 7 && request_handle == NULL && wanted == NULL);
  linger();
  CHECK(counter_get(&calls) == 0 && counter_get(&finalized) == 0);
}

/* The value that an export has after a panic. */
#define RETURNS(condition, name, ...)    \
  do {                                   \
    pgentra_set_failpoint(#name);        \
    CHECK((name(__VA_ARGS__))condition); \
  } while (0)

#define RETURNS_TEXT(text, name, ...)                \
  do {                                               \
    pgentra_set_failpoint(#name);                    \
    CHECK(strcmp((name(__VA_ARGS__)), (text)) == 0); \
  } while (0)

#define CALL(name, ...)           \
  do {                            \
    pgentra_set_failpoint(#name); \
    name(__VA_ARGS__);            \
  } while (0)

static void exports_that_cannot_fail(void) {
  pgentra_error *error = NULL;
  const char *token = NULL;
  pgentra_operation *operation = NULL;
  OK(pgentra_provider_get(provider, -1, &token, NULL, &error));
  pgentra_error_new(PGENTRA_TIMEOUT, "text", NULL, NULL, &error);
  pgentra_set_failpoint("pgentra_version");
  CHECK(pgentra_version()[0] == '\0');
  pgentra_set_failpoint("pgentra_abi_version");
  CHECK(pgentra_abi_version() == 0);
  RETURNS(== PGENTRA_INVALID_ARGUMENT, pgentra_error_kind, error);
  RETURNS_TEXT("internal", pgentra_error_code, error);
  RETURNS_TEXT("error is NULL or was freed", pgentra_error_message, error);
  RETURNS_TEXT("{}", pgentra_error_detail_json, error);
  RETURNS(== NULL, pgentra_error_cause, error);
  RETURNS(== NULL, pgentra_error_retain, error);
  RETURNS(== NULL, pgentra_string_retain, token);
  RETURNS_TEXT("not_a_login", pgentra_login_error_cause, "28P01", "no");
  RETURNS(== false, pgentra_login_error_is_retriable, "28P01", "no");
  OK(pgentra_provider_get_async(provider, -1, done, NULL, &operation, NULL));
  counter_wait(&calls, 1);
  /* The second call frees, in place of the one that panicked. */
  CALL(pgentra_error_free, error);
  CALL(pgentra_string_free, token);
  CALL(pgentra_operation_free, operation);
  CALL(pgentra_provider_close, provider);
  CALL(pgentra_credential_close, credential);
  pgentra_error_free(error);
  pgentra_string_free(token);
  pgentra_operation_free(operation);
}

/* On the engine's thread and on callback threads. */
static void tasks(void) {
  static const char *const places[] = {"fetch", "request", "completion", "callback"};
  for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
    pgentra_error *error = NULL;
    pgentra_credential *mine = NULL;
    pgentra_provider *on_mine = NULL;
    const int before = counter_get(&calls);
    OK(pgentra_credential_callback("Mine", request_token, NULL, finalize, &mine, &error));
    OK(pgentra_provider_open_with(EMPTY_CONFIG, mine, &on_mine, &error));
    pgentra_set_failpoint(places[i]);
    OK(pgentra_provider_login_async(on_mine, -1, done, NULL, NULL, &error));
    counter_wait(&calls, before + 1);
    linger();
    CHECK(counter_get(&calls) == before + 1 && last_code == PGENTRA_INTERNAL);
    /* A failed fetch is remembered for a while, so that each round uses a new credential. */
    pgentra_provider_close(on_mine);
    pgentra_credential_close(mine);
    counter_wait(&finalized, (int)i + 1);
  }
}

int main(void) {
  pgentra_error *error = NULL;
  const char *token = NULL;
  counter_init(&calls), counter_init(&finalized);
  OK(pgentra_credential_open(STATIC_CONFIG, NULL, 0, &credential, &error));
  OK(pgentra_provider_open(STATIC_CONFIG, &provider, &error));
  OK(pgentra_provider_get(provider, -1, &token, NULL, &error));
  pgentra_string_free(token);
  exports_that_can_fail();
  exports_that_cannot_fail();
  tasks();
  /* The library continues to work. */
  OK(pgentra_provider_get(provider, -1, &token, NULL, &error));
  CHECK(strcmp(token, TOKEN) == 0);
  pgentra_string_free(token);
  pgentra_provider_close(provider);
  pgentra_credential_close(credential);
  pgentra_set_failpoint("pgentra_shutdown");
  pgentra_shutdown();
  return finish();
}
