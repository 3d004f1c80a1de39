/* The rules for drivers: ownership and invalid arguments. tests/vectors contains the rules. */
#include "check.h"

typedef int32_t (*string_function)(const char *, const char **, pgentra_error **);

static void invalid_arguments(string_function function) {
  pgentra_error *error = NULL;
  const char *out = "untouched";
  FAILS(PGENTRA_INVALID_ARGUMENT, function(NULL, &out, &error));
  FAILS(PGENTRA_INVALID_ARGUMENT, function("\xc3\x28", &out, &error));
  FAILS(PGENTRA_INVALID_ARGUMENT, function(TOKEN, NULL, &error));
  CHECK(strcmp(out, "untouched") == 0);
}

int main(void) {
  pgentra_error *error = NULL;
  const char *out = NULL;
  invalid_arguments(pgentra_decode_jwt);
  invalid_arguments(pgentra_describe_token);
  invalid_arguments(pgentra_parse_principal_name);
  OK(pgentra_decode_jwt(TOKEN, &out, &error));
  CHECK(strstr(out, "\"upn\":\"anna@contoso.com\"") != NULL);
  pgentra_string_free(out);
  OK(pgentra_describe_token(TOKEN, &out, &error));
  CHECK(strstr(out, "\"source\":\"upn\"") != NULL);
  pgentra_string_free(out);
  FAILS(PGENTRA_TOKEN_DECODE, pgentra_decode_jwt("no token", &out, &error));
  OK(pgentra_parse_principal_name("no resource", &out, &error));
  CHECK(out == NULL);
  OK(pgentra_known_variables(&out, &error));
  CHECK(strstr(out, "\"AZURE_CLIENT_ID\"") != NULL);
  pgentra_string_free(out);
  OK(pgentra_resolve_cloud(NULL, "db.postgres.database.chinacloudapi.cn", NULL, NULL, NULL, &out, &error));
  CHECK(strstr(out, "\"cloud\":\"china\"") != NULL);
  pgentra_string_free(out);
  FAILS(PGENTRA_INVALID_CONFIGURATION, pgentra_resolve_cloud(NULL, NULL, NULL, "mars", NULL, &out, &error));

  CHECK(strcmp(pgentra_login_error_cause("28P01", "no"), "bad_password") == 0);
  CHECK(strcmp(pgentra_login_error_cause(NULL, NULL), "not_a_login") == 0);
  CHECK(strcmp(pgentra_login_error_cause("\xff", "\xff"), "not_a_login") == 0);
  CHECK(pgentra_login_error_is_retriable("28P01", "no") && !pgentra_login_error_is_retriable(NULL, NULL));
  OK(pgentra_login_error_explain("28P01", "no", "app", NULL, TOKEN, NULL, NULL, &out, &error));
  CHECK(strstr(out, "Role tried: 'app'") != NULL && strstr(out, "aaaaaaaa-0000-0000-0000-00000000000a") != NULL);
  pgentra_string_free(out);
  OK(pgentra_login_error_explain(NULL, "no such host", "app", "upn", NULL, NULL, NULL, &out, &error));
  CHECK(out[0] == '\0');
  pgentra_string_free(out);
  /* Variables of Service Connector for the server, in the document and in this process. */
  OK(pgentra_login_error_explain("28P01", "no", "app", NULL, TOKEN, "db.example",
                                 "{\"AZURE_POSTGRESQL_HOST\": \"db.example\"}", &out, &error));
  CHECK(strstr(out, "AZURE_POSTGRESQL_HOST") != NULL);
  pgentra_string_free(out);
  OK(pgentra_login_error_explain("28P01", "no", "app", NULL, TOKEN, "db.example", NULL, &out, &error));
  CHECK(strstr(out, "AZURE_POSTGRESQL_HOST") == NULL);
  pgentra_string_free(out);
  CHECK(setenv("AZURE_POSTGRESQL_HOST", "db.example", 1) == 0);
  OK(pgentra_login_error_explain("28P01", "no", "app", NULL, TOKEN, "db.example", NULL, &out, &error));
  CHECK(strstr(out, "AZURE_POSTGRESQL_HOST") != NULL);
  pgentra_string_free(out);
  OK(pgentra_login_error_explain("28P01", "no", "app", NULL, TOKEN, NULL, NULL, &out, &error));
  CHECK(strstr(out, "AZURE_POSTGRESQL_HOST") == NULL);
  pgentra_string_free(out);
  FAILS(PGENTRA_INVALID_CONFIGURATION,
        pgentra_login_error_explain("28P01", "no", "app", NULL, TOKEN, "db.example", "[]", &out, &error));
  FAILS(PGENTRA_INVALID_ARGUMENT, pgentra_login_error_explain(NULL, "no", NULL, NULL, NULL, NULL, NULL, &out, &error));
  return finish();
}
