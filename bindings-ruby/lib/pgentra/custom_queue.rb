# frozen_string_literal: true

module Pgentra
  # The requests to a credential of the application, which a Ruby thread serves. A forked child starts a thread of its own.
  class CustomQueue # :nodoc:
    WAIT_MS = 1000
    KEPT_CAUSES = 100
    @causes = {}
    @last_cause = 0
    @lock = Mutex.new

    class << self
      # Keeps an exception of a credential, and returns its number, which errors carry.
      def keep(exception)
        @lock.synchronize do
          @last_cause += 1
          @causes[@last_cause] = exception
          @causes.delete(@last_cause - KEPT_CAUSES)
          @last_cause
        end
      end

      # Returns the exception of a number, or nil.
      def cause(number)
        number.zero? ? nil : @causes[number]
      end
    end

    attr_reader :handle

    def initialize(name, function)
      @function = function
      @lock = Mutex.new
      handle = Library.output
      error = Library.output
      raise Library.error(error) unless Library.pgentra_credential_queue(name, handle, error) == Library::OK

      @handle = handle.read_pointer
      ObjectSpace.define_finalizer(self, self.class.closer(@handle))
    end

    def self.closer(handle)
      proc { Library.pgentra_credential_close(handle) }
    end

    # Starts the thread, unless it runs.
    def start
      return if @thread&.alive?

      @lock.synchronize do
        next if @thread&.alive?

        # The thread must not keep this object alive.
        @thread = self.class.serve(@handle, @function)
      end
    end

    def self.serve(handle, function)
      thread = Thread.new do
        Thread.current.name = "pgentra-credential"
        Thread.current.report_on_exception = false
        request = Library.output
        wanted = Library.output
        while Library.pgentra_request_next(handle, WAIT_MS, request, wanted, nil) == Library::OK
          next if request.read_pointer.null?

          respond(request.read_pointer, Library::TokenRequestStruct.new(wanted.read_pointer), function)
        end
      end
      thread.thread_variable_set(:pgentra, true)
      thread
    end

    def self.respond(request, wanted, function)
      token = function.call(TokenRequest.new(scope: string(wanted[:scope]), tenant_id: string(wanted[:tenant_id]),
                                             claims: string(wanted[:claims]), enable_cae: wanted[:enable_cae]))
      token = AccessToken.new(token) if token.is_a?(String)
      unless token.respond_to?(:token) && token.respond_to?(:expires_on)
        raise TypeError, "the credential returned a value of type #{token.class}, not a Pgentra::AccessToken"
      end

      refresh_on = token.respond_to?(:refresh_on) ? token.refresh_on.to_i : 0
      Library.pgentra_request_respond(request, Library.check(token.token), token.expires_on.to_i, refresh_on, nil)
    rescue Exception => e # rubocop:disable Lint/RescueException
      message = e.message.encode(Encoding::UTF_8, invalid: :replace, undef: :replace).delete("\0")
      Library.pgentra_request_fail(request, e.class.name || "Exception", message, e.is_a?(CredentialUnavailableError),
                                   FFI::Pointer.new(keep(e)), nil, nil)
      raise unless e.is_a?(StandardError)
    end

    def self.string(pointer)
      pointer.null? ? nil : pointer.read_string.force_encoding(Encoding::UTF_8)
    end
  end
end
