/* Documents from names and texts: types, members, invalid options, and their use. */
#include "check.h"

/* Checks the document of up to three options. */
static void document_is(const char *const *names, const char *const *values, const char *expected) {
  pgentra_error *error = NULL;
  const char *json = NULL;
  OK(pgentra_options_to_json(names, values, &json, &error));
  if (strcmp(json, expected) != 0) fprintf(stderr, "%s, expected %s\n", json, expected);
  CHECK(strcmp(json, expected) == 0);
  pgentra_string_free(json);
}

static void option_is_invalid(const char *name, const char *value, const char *problem) {
  const char *const names[] = {name, NULL}, *const values[] = {value, NULL};
  pgentra_error *error = NULL;
  const char *json = "untouched";
  CHECK(pgentra_options_to_json(names, values, &json, &error) == PGENTRA_INVALID_CONFIGURATION);
  CHECK(strstr(pgentra_error_message(error), name) != NULL && strstr(pgentra_error_message(error), problem) != NULL);
  /* The value can be a secret. */
  CHECK(strlen(value) < 8 || strstr(pgentra_error_message(error), value) == NULL);
  CHECK(strcmp(json, "untouched") == 0);
  pgentra_error_free(error);
}

static void texts_become_the_options_types(void) {
  const char *const none[] = {NULL};
  document_is(none, none, "{}");
  const char *const names[] = {"host", "user", "cache", "timeout", NULL};
  const char *const values[] = {"db \"quoted\" \\ \xc3\xa9", NULL, "false", "2.5", NULL};
  document_is(names, values, "{\"cache\":false,\"host\":\"db \\\"quoted\\\" \\\\ \xc3\xa9\",\"timeout\":2.5}");
  const char *const members[] = {"credential.type", "credential.retry.max_retries", "credential.exclude", NULL};
  const char *const texts[] = {"default", "3", "azure_cli, environment", NULL};
  document_is(members, texts,
              "{\"credential\":{\"exclude\":[\"azure_cli\",\"environment\"],\"retry\":{\"max_retries\":3},"
              "\"type\":\"default\"}}");
  /* Variables and settings are texts, whatever their name is. */
  const char *const variables[] = {"environment.cache", "arguments.timeout", "service_connector", NULL};
  const char *const strings[] = {"true", "5", "true", NULL};
  document_is(variables, strings,
              "{\"arguments\":{\"timeout\":\"5\"},\"environment\":{\"cache\":\"true\"},\"service_connector\":true}");
  const char *const connector[] = {"service_connector", "config", NULL};
  const char *const shop[] = {"shop", "{\"user\": \"app\"}", NULL};
  document_is(connector, shop, "{\"config\":{\"user\":\"app\"},\"service_connector\":\"shop\"}");
}

static void invalid_options_are_named(void) {
  option_is_invalid("cache", "yes-canary-secret", "expected true or false");
  option_is_invalid("timeout", "five-canary-secret", "expected a number");
  option_is_invalid("credential.retry.max_retries", "", "expected a number");
  option_is_invalid("credential.credentials", "canary-secret", "expected a JSON object or array");
  option_is_invalid("credential..type", "default", "empty part");
  const char *const twice[] = {"host", "host", NULL}, *const two[] = {"a", "b", NULL};
  const char *const both[] = {"host", "host.name", NULL};
  pgentra_error *error = NULL;
  const char *json = NULL;
  FAILS(PGENTRA_INVALID_CONFIGURATION, pgentra_options_to_json(twice, two, &json, &error));
  FAILS(PGENTRA_INVALID_CONFIGURATION, pgentra_options_to_json(both, two, &json, &error));
  const char *const bad[] = {"host", NULL}, *const bytes[] = {"\xff", NULL};
  FAILS(PGENTRA_INVALID_ARGUMENT, pgentra_options_to_json(bad, bytes, &json, &error));
  FAILS(PGENTRA_INVALID_ARGUMENT, pgentra_options_to_json(bytes, bad, &json, &error));
  FAILS(PGENTRA_INVALID_ARGUMENT, pgentra_options_to_json(NULL, two, &json, &error));
  FAILS(PGENTRA_INVALID_ARGUMENT, pgentra_options_to_json(bad, NULL, &json, &error));
  FAILS(PGENTRA_INVALID_ARGUMENT, pgentra_options_to_json(bad, two, NULL, &error));
  CHECK(json == NULL);
}

/* From options to a login. */
static void a_provider_is_opened(void) {
  const char *const names[] = {"credential.type", "credential.token", "environment.PGUSER", "user", NULL};
  const char *const values[] = {"static_token", TOKEN, "from-a-variable", NULL, NULL};
  pgentra_error *error = NULL;
  pgentra_provider *provider = NULL;
  const char *config = NULL, *user = NULL, *password = NULL, *source = NULL;
  int64_t expires_on = 0;
  OK(pgentra_options_to_json(names, values, &config, &error));
  OK(pgentra_provider_open(config, &provider, &error));
  OK(pgentra_provider_login(provider, -1, &user, &password, &source, &expires_on, &error));
  CHECK(strcmp(user, "from-a-variable") == 0 && strcmp(source, "PGUSER") == 0);
  CHECK(strcmp(password, TOKEN) == 0 && expires_on == 4000000000LL);
  pgentra_string_free(user);
  pgentra_string_free(password);
  pgentra_string_free(config);
  pgentra_provider_close(provider);
  /* An unknown option is an error of the function that reads the document. */
  const char *const unknown[] = {"no_such_option", NULL}, *const one[] = {"1", NULL};
  OK(pgentra_options_to_json(unknown, one, &config, &error));
  FAILS(PGENTRA_INVALID_CONFIGURATION, pgentra_provider_open(config, &provider, &error));
  pgentra_string_free(config);
}

int main(void) {
  texts_become_the_options_types();
  invalid_options_are_named();
  a_provider_is_opened();
  return finish();
}
