# frozen_string_literal: true

module Pgentra
  # An error of pgentra. The message says what failed, for which credential, what the service returned and what to do. It contains
  # no token, secret or response body.
  class Error < StandardError
    # The error as data; docs/errors.md lists the keys.
    attr_reader :detail

    def initialize(message = nil, detail = {})
      super(message)
      @detail = detail
    end

    # The name of the kind of error, such as "credential_unavailable" (docs/errors.md).
    def code
      detail.fetch("code", "internal")
    end

    # The number behind AADSTS, or nil if Entra returned none.
    def aadsts
      detail["aadsts"]
    end

    # Whether the same call may succeed later although nothing was changed.
    def transient?
      detail["transient"] ? true : false
    end

    # Returns the first error of pgentra in an exception and its causes, or nil.
    def self.find(exception)
      100.times do
        return exception if exception.nil? || exception.is_a?(Error)

        exception = exception.cause
      end
      nil
    end
  end

  # The credential is not set up on this machine. Raise it in a credential of your own to let a chain continue with its next
  # member.
  class CredentialUnavailableError < Error; end

  # No token could be fetched: `code` names the cause.
  class AuthenticationError < Error; end

  # The token is not a readable JWT.
  class TokenDecodeError < Error; end

  # The token contains no role name.
  class UsernameExtractionError < Error; end

  # A token for the management scope was refused, so the role name could not be determined.
  class ScopePermissionError < Error; end

  # A credential or an option is not valid.
  class CredentialValueError < Error; end

  # The settings of a connection contradict each other or the options, or would send a token without TLS.
  class EntraConnectionValueError < Error; end
end
