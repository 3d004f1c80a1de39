/* Opening and closing, misuse of every handle and argument, errors, strings, several threads. */
#include "check.h"

#define THREADS 8
#ifndef ROUNDS
#define ROUNDS 1000
#endif

static void versions(void) {
  CHECK(pgentra_abi_version() == PGENTRA_ABI_VERSION);
  CHECK(strchr(pgentra_version(), '.') != NULL);
}

static void invalid_configurations(void) {
  pgentra_error *error = NULL;
  pgentra_provider *const untouched = (pgentra_provider *)(uintptr_t)0x5a5a;
  pgentra_provider *provider = untouched;
  static const char *const bad[] = {"",
                                    "{",
                                    "[]",
                                    "null",
                                    "7",
                                    "\"text\"",
                                    "{\"no_such_option\": 1}",
                                    "{\"credential\": {\"type\": \"no_such\"}}",
                                    "{\"credential\": {\"type\": \"client_secret\", \"tenant_id\": \"t\"}}",
                                    "{\"scope\": 7, \"environment\": {}}",
                                    "{\"timeout\": -1}",
                                    "{\"credential\": {\"type\": \"custom_credential\", \"index\": 0}}",
                                    "{\"environment\": 7}"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    FAILS(PGENTRA_INVALID_CONFIGURATION, pgentra_provider_open(bad[i], &provider, &error));
    CHECK(provider == untouched);
  }
  FAILS(PGENTRA_INVALID_ARGUMENT, pgentra_provider_open("\xff\xfe", &provider, &error));
  FAILS(PGENTRA_INVALID_ARGUMENT, pgentra_provider_open(STATIC_CONFIG, NULL, &error));
  /* Without an output for the error, only the kind is returned. */
  CHECK(pgentra_provider_open("{", &provider, NULL) == PGENTRA_INVALID_CONFIGURATION);
  CHECK(provider == untouched);
  CHECK(pgentra_config_check(STATIC_CONFIG, NULL) == PGENTRA_OK);
  FAILS(PGENTRA_INVALID_CONFIGURATION, pgentra_config_check("{\"user\": \"\"}", &error));
  /* The environment of the process and the default chain: this fetches nothing. */
  OK(pgentra_provider_open(NULL, &provider, &error));
  pgentra_provider_close(provider);
}

/* Every function rejects a handle that is not an open provider. */
static void rejects(pgentra_provider *bad) {
  pgentra_error *error = NULL;
  pgentra_operation *operation = NULL;
  const char *text = "untouched", *other = "untouched";
  uint64_t id = 7;
  FAILS(PGENTRA_INVALID_ARGUMENT, pgentra_provider_get(bad, 0, &text, NULL, &error));
  FAILS(PGENTRA_INVALID_ARGUMENT, pgentra_provider_try_get(bad, &id, &text, NULL, &error));
  FAILS(PGENTRA_INVALID_ARGUMENT, pgentra_provider_login(bad, 0, &text, &other, NULL, NULL, &error));
  FAILS(PGENTRA_INVALID_ARGUMENT, pgentra_provider_try_login(bad, &id, &text, &other, NULL, NULL, &error));
  FAILS(PGENTRA_INVALID_ARGUMENT, pgentra_provider_invalidate(bad, NULL, 0, &text, &error));
  FAILS(PGENTRA_INVALID_ARGUMENT, pgentra_provider_stats(bad, &text, &error));
  FAILS(PGENTRA_INVALID_ARGUMENT, pgentra_provider_get_async(bad, 0, NULL, NULL, &operation, &error));
  FAILS(PGENTRA_INVALID_ARGUMENT, pgentra_provider_login_async(bad, 0, NULL, NULL, &operation, &error));
  FAILS(PGENTRA_INVALID_ARGUMENT, pgentra_provider_invalidate_async(bad, NULL, 0, NULL, NULL, &operation, &error));
  pgentra_provider_close(bad);
  CHECK(strcmp(text, "untouched") == 0 && strcmp(other, "untouched") == 0 && id == 7 && operation == NULL);
}

static void misuse(void) {
  pgentra_error *error = NULL;
  pgentra_provider *provider = NULL;
  pgentra_credential *credential = NULL;
  const char *text = "untouched", *other_text = NULL;
  OK(pgentra_provider_open(STATIC_CONFIG, &provider, &error));
  OK(pgentra_credential_open(STATIC_CONFIG, NULL, 0, &credential, &error));
  rejects(NULL);
  rejects((pgentra_provider *)credential);
  rejects((pgentra_provider *)(uintptr_t)1);
  rejects((pgentra_provider *)UINTPTR_MAX);
  rejects((pgentra_provider *)&text);
  /* Missing outputs and callbacks. */
  FAILS(PGENTRA_INVALID_ARGUMENT, pgentra_provider_get(provider, -1, NULL, NULL, &error));
  FAILS(PGENTRA_INVALID_ARGUMENT, pgentra_provider_try_get(provider, NULL, &text, NULL, &error));
  FAILS(PGENTRA_INVALID_ARGUMENT, pgentra_provider_login(provider, -1, &text, NULL, NULL, NULL, &error));
  FAILS(PGENTRA_INVALID_ARGUMENT, pgentra_provider_get_async(provider, -1, NULL, NULL, NULL, &error));
  FAILS(PGENTRA_INVALID_ARGUMENT, pgentra_provider_stats(provider, NULL, &error));
  FAILS(PGENTRA_INVALID_ARGUMENT, pgentra_stats(NULL, &error));
  pgentra_token_request request = request_for(NULL);
  FAILS(PGENTRA_INVALID_ARGUMENT, pgentra_credential_get_token(credential, &request, -1, &text, NULL, &error));
  FAILS(PGENTRA_INVALID_ARGUMENT, pgentra_credential_get_token(credential, NULL, -1, &text, NULL, &error));
  /* A structure without its size, and one of a later version. */
  request = request_for(SCOPE);
  request.size = 0;
  FAILS(PGENTRA_INVALID_ARGUMENT, pgentra_credential_get_token(credential, &request, -1, &text, NULL, &error));
  request.size = sizeof request + 64;
  OK(pgentra_credential_get_token(credential, &request, -1, &other_text, NULL, &error));
  pgentra_string_free(other_text);
  FAILS(PGENTRA_INVALID_ARGUMENT, pgentra_credential_callback("mine", NULL, NULL, NULL, &credential, &error));
  FAILS(PGENTRA_INVALID_ARGUMENT, pgentra_credential_open(STATIC_CONFIG, NULL, 1, &credential, &error));
  FAILS(PGENTRA_INVALID_ARGUMENT, pgentra_operation_cancel(NULL, &error));
  FAILS(PGENTRA_INVALID_ARGUMENT, pgentra_request_respond(NULL, TOKEN, 0, 0, &error));
  FAILS(PGENTRA_INVALID_ARGUMENT, pgentra_request_fail(NULL, "Class", "text", false, NULL, NULL, &error));
  FAILS(PGENTRA_INVALID_ARGUMENT, pgentra_request_abandon(NULL, &error));
  FAILS(PGENTRA_INVALID_ARGUMENT, pgentra_set_log_callback(9, NULL, NULL, NULL, &error));
  CHECK(strcmp(text, "untouched") == 0);
  /* Handles that are closed twice, and used after that. */
  pgentra_provider_close(provider);
  rejects(provider);
  pgentra_credential_close(credential);
  pgentra_credential_close(credential);
  pgentra_provider *other = NULL;
  FAILS(PGENTRA_INVALID_ARGUMENT, pgentra_provider_open_with(NULL, credential, &other, &error));
  FAILS(PGENTRA_INVALID_ARGUMENT, pgentra_provider_open_with(NULL, NULL, &other, &error));
  const pgentra_credential *const members[] = {credential};
  FAILS(PGENTRA_INVALID_ARGUMENT, pgentra_credential_open(EMPTY_CONFIG, members, 1, &credential, &error));
  CHECK(other == NULL);
  pgentra_provider_close(NULL);
  pgentra_credential_close(NULL);
  pgentra_operation_free(NULL);
  pgentra_error_free(NULL);
  pgentra_string_free(NULL);
  CHECK(pgentra_string_retain(NULL) == NULL);
}

static void errors(void) {
  pgentra_error *error = NULL;
  CHECK(pgentra_error_kind(NULL) == PGENTRA_INVALID_ARGUMENT);
  CHECK(strcmp(pgentra_error_code(NULL), "invalid_argument") == 0);
  CHECK(strlen(pgentra_error_message(NULL)) > 0 && strcmp(pgentra_error_detail_json(NULL), "{}") == 0);
  CHECK(pgentra_error_retain(NULL) == NULL && pgentra_error_cause(NULL) == NULL);
  CHECK(pgentra_error_new(PGENTRA_INVALID_CONNECTION, "two users", "Name one.", NULL, &error) ==
        PGENTRA_INVALID_CONNECTION);
  CHECK(strcmp(pgentra_error_message(error), "two users. Name one.") == 0);
  CHECK(strcmp(pgentra_error_code(error), "invalid_connection") == 0);
  CHECK(strstr(pgentra_error_detail_json(error), "\"error_class\":\"EntraConnectionValueError\"") != NULL);
  pgentra_error *kept = pgentra_error_retain(error);
  pgentra_error_free(error);
  CHECK(pgentra_error_kind(error) == PGENTRA_INVALID_ARGUMENT);
  CHECK(pgentra_error_kind(kept) == PGENTRA_INVALID_CONNECTION);
  pgentra_error_free(error);
  pgentra_error_free(kept);
  error = NULL;
  FAILS(PGENTRA_INVALID_ARGUMENT, pgentra_error_new(12345, "text", NULL, NULL, &error));
  FAILS(PGENTRA_INVALID_ARGUMENT, pgentra_error_new(PGENTRA_INTERNAL, NULL, NULL, NULL, &error));
  const char *kinds = NULL;
  OK(pgentra_error_kinds(&kinds, &error));
  CHECK(strstr(kinds, "\"code\":\"invalid_argument\"") != NULL);
  pgentra_string_free(kinds);
}

static void *open_and_close(void *unused) {
  (void)unused;
  for (int round = 0; round < ROUNDS; round++) {
    pgentra_error *error = NULL;
    pgentra_provider *provider = NULL;
    const char *token = NULL;
    OK(pgentra_provider_open(STATIC_CONFIG, &provider, &error));
    if (round % 10 == 0) {
      OK(pgentra_provider_get(provider, -1, &token, NULL, &error));
      CHECK(strcmp(token, TOKEN) == 0);
      pgentra_string_free(token);
    }
    pgentra_provider_close(provider);
    FAILS(PGENTRA_INVALID_ARGUMENT, pgentra_provider_get(provider, -1, &token, NULL, &error));
  }
  return NULL;
}

static pgentra_provider *contested;

static void *close_contested(void *unused) {
  (void)unused;
  pgentra_error *error = NULL;
  const char *token = NULL;
  const int32_t kind = pgentra_provider_get(contested, -1, &token, NULL, &error);
  CHECK(kind == PGENTRA_OK || kind == PGENTRA_INVALID_ARGUMENT);
  CHECK(kind != PGENTRA_OK || strcmp(token, TOKEN) == 0);
  pgentra_string_free(token);
  pgentra_error_free(error);
  pgentra_provider_close(contested);
  return NULL;
}

static void on_threads(void *(*work)(void *)) {
  pthread_t threads[THREADS];
  for (int i = 0; i < THREADS; i++) CHECK(pthread_create(&threads[i], NULL, work, NULL) == 0);
  for (int i = 0; i < THREADS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
}

int main(void) {
  versions();
  invalid_configurations();
  misuse();
  errors();
  on_threads(open_and_close);
  for (int round = 0; round < 20; round++) {
    pgentra_error *error = NULL;
    OK(pgentra_provider_open(STATIC_CONFIG, &contested, &error));
    on_threads(close_contested);
  }
  return finish();
}
