/*
 * libpgentra for C++11 and newer: handles that close themselves, errors that are thrown. Everything else is
 * pgentra.h's.
 */
#ifndef PGENTRA_HPP
#define PGENTRA_HPP

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include "pgentra.h"

namespace pgentra {

/** What failed: what() says it to a person, kind() and detail() to a program. */
class Error : public std::runtime_error {
 public:
  /** Takes the error over. */
  explicit Error(pgentra_error *error)
      : std::runtime_error(pgentra_error_message(error)),
        kind_(pgentra_error_kind(error)),
        detail_(pgentra_error_detail_json(error)) {
    pgentra_error_free(error);
  }
  /** One of enum pgentra_kind. */
  std::int32_t kind() const noexcept { return kind_; }
  /** JSON. */
  const std::string &detail() const noexcept { return detail_; }

 private:
  std::int32_t kind_;
  std::string detail_;
};

struct Deleter {
  void operator()(const char *string) const noexcept { pgentra_string_free(string); }
  void operator()(pgentra_provider *provider) const noexcept { pgentra_provider_close(provider); }
  void operator()(pgentra_credential *credential) const noexcept { pgentra_credential_close(credential); }
  void operator()(pgentra_operation *operation) const noexcept { pgentra_operation_free(operation); }
};

/** A string of the library's; wiped when the last holder lets go. */
using String = std::unique_ptr<const char, Deleter>;
using Credential = std::unique_ptr<pgentra_credential, Deleter>;
using Operation = std::unique_ptr<pgentra_operation, Deleter>;

/** Calls a function of pgentra.h that takes an error last, and throws what it fails with. */
template <typename Function, typename... Arguments>
void call(Function function, Arguments &&...arguments) {
  pgentra_error *error = nullptr;
  if (function(std::forward<Arguments>(arguments)..., &error) != PGENTRA_OK) throw Error(error);
}

/** A provider of tokens and logins, for any number of threads. */
class Provider {
 public:
  /** By a configuration document, on a credential in place of the document's own if one is given. */
  explicit Provider(const std::string &config_json = "{}", const pgentra_credential *credential = nullptr) {
    pgentra_provider *provider = nullptr;
    if (credential == nullptr) {
      call(pgentra_provider_open, config_json.c_str(), &provider);
    } else {
      call(pgentra_provider_open_with, config_json.c_str(), credential, &provider);
    }
    provider_.reset(provider);
  }
  /** A token; blocks while there is none, at most `timeout_ms`. */
  String get(std::int32_t timeout_ms = -1) const {
    const char *token = nullptr;
    call(pgentra_provider_get, get_handle(), timeout_ms, &token, nullptr);
    return String(token);
  }
  /** A role name and a token, which is its password. */
  std::pair<String, String> login(std::int32_t timeout_ms = -1) const {
    const char *user = nullptr, *password = nullptr;
    call(pgentra_provider_login, get_handle(), timeout_ms, &user, &password, nullptr, nullptr);
    return {String(user), String(password)};
  }
  /** Tells that a server refused `token`: the newer one that is worth one more try, or none. */
  String invalidate(const char *token, std::int32_t timeout_ms = -1) const {
    const char *newer = nullptr;
    call(pgentra_provider_invalidate, get_handle(), token, timeout_ms, &newer);
    return String(newer);
  }
  /** For the functions of pgentra.h. */
  const pgentra_provider *get_handle() const noexcept { return provider_.get(); }

 private:
  std::unique_ptr<pgentra_provider, Deleter> provider_;
};

}  // namespace pgentra

#endif
