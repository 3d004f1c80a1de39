// pgentra.hpp: handles that close themselves, and exceptions.
#include <pgentra.hpp>

#include "check.h"

static void respond(void *, pgentra_request *request, const pgentra_token_request *) {
  pgentra_request_respond(request, TOKEN, 0, 0, nullptr);
}

int main() {
  pgentra::String token;
  {
    pgentra::Provider provider(STATIC_CONFIG);
    token = provider.get();
    const pgentra::Provider moved = std::move(provider);
    const auto login = moved.login(0);
    CHECK(std::string(login.first.get()) == "anna@contoso.com" && std::string(login.second.get()) == TOKEN);
    CHECK(moved.invalidate(TOKEN) == nullptr);
  }
  CHECK(std::string(token.get()) == TOKEN);

  pgentra_credential *credential = nullptr;
  pgentra::call(pgentra_credential_callback, "Mine", respond, nullptr, nullptr, &credential);
  const pgentra::Credential mine(credential);
  CHECK(std::string(pgentra::Provider(EMPTY_CONFIG, mine.get()).get().get()) == TOKEN);

  try {
    pgentra::Provider("{\"no_such_option\": 1}");
    CHECK(false);
  } catch (const pgentra::Error &error) {
    CHECK(error.kind() == PGENTRA_INVALID_CONFIGURATION && std::string(error.what()).find("no_such_option") > 0);
    CHECK(error.detail().find("\"code\":\"invalid_configuration\"") != std::string::npos);
  }
  return finish();
}
