# frozen_string_literal: true

require "pg"
require_relative "../pgentra"

module Pgentra
  # The server rejected a login. The message contains the principal, the role and what to do after the server's own, which is
  # `server_message`.
  class LoginRejected < ::PG::ConnectionBad
    attr_reader :server_message

    def initialize(error, explanation) # :nodoc:
      @server_message = error.message
      super("#{error.message.chomp}\n#{explanation}")
    end
  end

  # The keyword `entra` of connections: `true`, or a Hash of options (docs/ruby.md).
  module PGConnection # :nodoc:
    NAMES = %i[new connect open async_connect sync_connect setdb setdblogin].freeze

    # The name that Active Record lets through to the driver.
    def conndefaults_hash
      super.merge(entra: nil)
    end

    NAMES.each do |name|
      define_method(name) do |*arguments, **keywords, &block|
        arguments = [*arguments, keywords] unless keywords.empty?
        last = arguments.last
        entra = last.is_a?(Hash) ? last[:entra] || last["entra"] : nil
        if last.is_a?(Hash) && (last.key?(:entra) || last.key?("entra"))
          arguments = [*arguments[..-2], last.reject { |key, _| key.to_s == "entra" }]
        end
        next super(*arguments, &block) if entra.nil? || entra == false || entra == "false"

        connection = PGConnection.log_in(parse_connect_args(*arguments), entra == "true" ? true : entra) do |*given|
          super(*given)
        end
        next connection unless block

        begin
          block.call(connection)
        ensure
          connection.finish unless connection.finished?
        end
      end
    end

    def self.log_in(text, options)
      attempt = LoginAttempt.new({ text: text, form: "libpq" }, options)
      connection = attempt.connect(::PG::ConnectionBad, LoginRejected.method(:new)) do |user, password|
        given = { user: user, password: password }.compact
        yield(attempt.conninfo, given)
      end
      connection.instance_variable_set(:@pgentra, [text, options])
      connection
    end

    # `reset` connects with the parameters that the connection began with. pg 1.5 and newer keeps them where a newer token can be
    # put; older ones keep them in libpq, and the server then rejects an expired token.
    module Reset # :nodoc:
      def reset
        if @pgentra && @iopts_for_reset
          attempt = LoginAttempt.new({ text: @pgentra[0], form: "libpq" }, @pgentra[1])
          @iopts_for_reset = @iopts_for_reset.merge(password: attempt.login.password) if attempt.uses_entra?
        end
        super
      end
      alias async_reset reset
    end

    def self.install
      ::PG::Connection.singleton_class.prepend(self)
      ::PG::Connection.prepend(Reset)
    end
  end

  PGConnection.install
end
