# frozen_string_literal: true

module Pgentra
  # One connection: what the library planned for it, the login, one more attempt with a newer token, and the explanation of a
  # login error.
  class LoginAttempt # :nodoc:
    OF_CONNECTION = %w[service_connector require_entra ignore_password allow_insecure_transport].freeze

    attr_reader :plan

    # settings:: the request's arguments, text and form
    # options:: `true`, or a Hash of options of the connection and of the provider
    def initialize(settings, options)
      options = options == true ? {} : options.transform_keys(&:to_s).compact
      credential = options.delete("credential")
      credential = Credential.of(credential) unless credential.nil?
      connection, config = options.partition { |name, _| OF_CONNECTION.include?(name) }.map(&:to_h)
      request = { **settings, **connection.transform_keys(&:to_sym), conninfo: true, config: config,
                                                                     has_credential: !credential.nil? }
      request[:environment] = config["environment"] if config.key?("environment")
      @plan = Library.document(:pgentra_connection_plan, Library.encode(request))
      @plan["warnings"].each { |warning| Logging.warn(warning) }
      @connector = connection["service_connector"]
      @timeout = @plan["timeout"] if @plan["timeout"].to_f.positive?
      @provider = TokenProvider.with_document(@plan["config"], credential) if @plan["uses_entra"]
    end

    def uses_entra?
      !@provider.nil?
    end

    # The complete connection string, without a password if a token is used.
    def conninfo
      @plan["conninfo"]
    end

    def login
      @login = @provider.login(timeout: @timeout)
    end

    # Yields user and password, or nil if they are in the settings. `rejected` is the driver's class of errors; an error after the
    # second attempt is raised as the class that the block of the caller gives.
    def connect(rejected, explained)
      return yield(nil, nil) unless uses_entra?

      login
      begin
        return yield(@login.user, @login.password)
      rescue rejected => e
        error = e
      end
      if Library.pgentra_login_error_is_retriable(nil, error.message) &&
         @provider.invalidate(@login.password, timeout: @timeout)
        login
        begin
          return yield(@login.user, @login.password)
        rescue rejected => e
          error = e
        end
      end
      Logging.pass
      explanation = explain(error.message)
      raise error if explanation.empty?

      raise explained.call(error, explanation), cause: error
    end

    def inspect
      "#<Pgentra::LoginAttempt>"
    end

    private

    # Returns what to add to the server's message, or an empty text if it is not a login error.
    def explain(message)
      environment = @plan["config"]["environment"]
      Library.text(:pgentra_login_error_explain, nil, message, @login.user, @plan["user_source"] || @login.source, @login.password,
                   @connector ? nil : @plan["host"], environment.nil? ? nil : Library.encode(environment)).to_s
    end
  end
end
