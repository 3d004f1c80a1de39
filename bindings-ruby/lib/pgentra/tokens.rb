# frozen_string_literal: true

module Pgentra
  # A token and its times, in seconds since 1970. `inspect` does not show the token.
  class AccessToken
    attr_reader :token, :expires_on, :refresh_on

    # expires_on:: the expiry. nil: that of the token's `exp` claim
    # refresh_on:: when to request the next token. nil: chosen by the library
    def initialize(token, expires_on: nil, refresh_on: nil)
      @token = token
      @expires_on = expires_on
      @refresh_on = refresh_on
    end

    def inspect
      "#<Pgentra::AccessToken token=[redacted] expires_on=#{expires_on.inspect}>"
    end
    alias to_s inspect

    def pretty_print(printer)
      printer.text(inspect)
    end

    def marshal_dump
      raise TypeError, "a Pgentra::AccessToken contains a secret and cannot be dumped"
    end

    def as_json(*)
      { "expires_on" => expires_on }
    end

    def to_json(*arguments)
      as_json.to_json(*arguments)
    end
  end

  # A role and its password, which is a token. `inspect` does not show the password.
  class Login
    # The source of `user`: "user", "PGUSER", a claim, "management token", "fallback_username".
    attr_reader :user, :password, :source, :expires_on

    def initialize(user, password, source, expires_on) # :nodoc:
      @user = user
      @password = password
      @source = source
      @expires_on = expires_on
    end

    def inspect
      "#<Pgentra::Login user=#{user.inspect} password=[redacted] source=#{source.inspect} expires_on=#{expires_on}>"
    end
    alias to_s inspect

    def pretty_print(printer)
      printer.text(inspect)
    end

    def marshal_dump
      raise TypeError, "a Pgentra::Login contains a secret and cannot be dumped"
    end

    def as_json(*)
      { "user" => user, "source" => source, "expires_on" => expires_on }
    end

    def to_json(*arguments)
      as_json.to_json(*arguments)
    end
  end

  # What a token is requested for. `claims` is a claims challenge (JSON).
  TokenRequest = Struct.new(:scope, :tenant_id, :claims, :enable_cae, keyword_init: true)
end
