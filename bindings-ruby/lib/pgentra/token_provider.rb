# frozen_string_literal: true

module Pgentra
  # Provides logins and tokens for any driver. Call `login` for each new connection: it returns the cached token.
  #
  #   provider = Pgentra::TokenProvider.new(host: "shop.postgres.database.azure.com")
  #   login = provider.login   # connect as login.user with login.password, over TLS
  #
  # Providers with equal settings share one cached token. A provider may be used from any thread, and in forked children.
  class TokenProvider
    # The options are those of docs/ruby.md; `timeout` is in seconds. Nothing is fetched yet. Raises Error if an option is
    # not valid.
    def initialize(**options)
      config = options.transform_keys(&:to_s).compact
      credential = config.delete("credential")
      open(config, credential.nil? ? nil : Credential.of(credential))
    end

    def self.with_document(config, credential) # :nodoc:
      allocate.tap { |provider| provider.send(:open, config, credential) }
    end

    def self.closer(handle) # :nodoc:
      proc { Library.pgentra_provider_close(handle) }
    end

    # Returns the role and the password for a new connection. Without a cached token, it waits for one, at most `timeout` seconds
    # (nil: the option `timeout`, 30 by default). Raises Error.
    def login(timeout: nil)
      cached = cached_login
      return cached unless cached.nil?

      user = Library.output
      password = Library.output
      source = Library.output
      expires_on = FFI::MemoryPointer.new(:int64)
      Wait.for(@queues, timeout || @timeout) do |limit, error|
        Library.pgentra_provider_login(@handle, limit, user, password, source, expires_on, error)
      end
      read(user, password, source, expires_on)
    end

    # Returns a token, which is the password for PostgreSQL. Waits as `login` does.
    def token(timeout: nil)
      token = Library.output
      expires_on = FFI::MemoryPointer.new(:int64)
      Wait.for(@queues, timeout || @timeout) do |limit, error|
        Library.pgentra_provider_get(@handle, limit, token, expires_on, error)
      end
      AccessToken.new(Library.take(token), expires_on: expires_on.read_int64)
    end

    # Reports that the server rejected a login with this token (nil: the current one). Returns whether `login` now has a newer
    # one, with which the login may be tried once more. Waits for it, at most `timeout` seconds.
    def invalidate(rejected = nil, timeout: nil)
      newer = Library.output
      @queues.each(&:start)
      limit = ((timeout || @timeout || Wait::LIMIT_S) * 1000).ceil
      error = Library.output
      status = Library.pgentra_provider_invalidate(@handle, rejected, limit, newer, error)
      raise Library.error(error) unless status == Library::OK

      !Library.take(newer).nil?
    end

    # Returns the provider's statistics: credential, scope, role, expires_in, refresh_due_in (seconds), counters and others.
    def stats
      Library.document(:pgentra_provider_stats, @handle)
    end

    def inspect
      found = stats
      "#<Pgentra::TokenProvider credential=#{found["credential"]} scope=#{found["scope"]}>"
    end
    alias to_s inspect

    def pretty_print(printer)
      printer.text(inspect)
    end

    def marshal_dump
      raise TypeError, "a Pgentra::TokenProvider cannot be dumped"
    end

    private

    def open(config, credential)
      handle = Library.output
      error = Library.output
      @timeout = config["timeout"]
      @queues = credential.nil? ? [] : credential.queues
      status =
        if @queues.empty?
          config = config.merge("credential" => credential.describe([])) unless credential.nil?
          Library.pgentra_provider_open(Library.encode(config), handle, error)
        else
          opened = credential.open(config["environment"])
          Library.pgentra_provider_open_with(Library.encode(config), opened, handle, error)
        end
      raise Library.error(error) unless status == Library::OK

      @handle = handle.read_pointer
      # The queues' threads serve the provider's requests.
      @credential = credential
      ObjectSpace.define_finalizer(self, self.class.closer(@handle))
      @lock = Mutex.new
      @id = FFI::MemoryPointer.new(:uint64)
      @outputs = [Library.output, Library.output, Library.output, FFI::MemoryPointer.new(:int64), Library.output]
      @login = nil
    end

    # Returns the cached login, or nil. Nothing is copied if the library has the same one as at the last call.
    def cached_login
      user, password, source, expires_on, error = @outputs
      @lock.synchronize do
        before = @id.read_uint64
        status = Library.pgentra_provider_try_login(@handle, @id, user, password, source, expires_on, error)
        raise Library.error(error) unless status == Library::OK

        id = @id.read_uint64
        return nil if id.zero?
        return @login if id == before && @login

        @login = read(user, password, source, expires_on)
      end
    end

    def read(user, password, source, expires_on)
      name = source.read_pointer.read_string
      Login.new(Library.take(user), Library.take(password), name, expires_on.read_int64)
    end
  end
end
