# frozen_string_literal: true

module Pgentra
  # A credential. The classes of Pgentra::Identity have the names of azure-identity. `inspect` shows no secrets.
  class Credential
    # Returns a value as a credential: a credential, an object with `get_token`, an object with `call`, or a Hash with "type".
    def self.of(value) # :nodoc:
      case value
      when Credential then value
      when Hash then DocumentCredential.new(value)
      else
        return CustomCredential.new(value.method(:get_token), name: value.class.name) if value.respond_to?(:get_token)
        return CustomCredential.new(value) if value.respond_to?(:call)

        raise Library.new_error(Library::CREDENTIAL_VALUE, "the credential is of type #{value.class}",
                                "Pass a credential of Pgentra::Identity, an object with get_token or call, or a Hash with type.")
      end
    end

    def initialize(document) # :nodoc:
      @document = document
      @lock = Mutex.new
    end

    # Returns a token for a scope, or for a TokenRequest. Without a cached one, it waits, at most `timeout` seconds (30).
    def get_token(request, timeout: nil)
      request = TokenRequest.new(scope: request) if request.is_a?(String)
      struct = Library::TokenRequestStruct.new
      struct[:size] = Library::TokenRequestStruct.size
      struct[:enable_cae] = request.enable_cae ? true : false
      kept = %i[scope tenant_id claims].map do |name|
        value = request[name]
        struct[name] = pointer = value.nil? ? nil : FFI::MemoryPointer.from_string(Library.check(value))
        pointer
      end
      token = Library.output
      expires_on = FFI::MemoryPointer.new(:int64)
      handle = open(nil)
      Wait.for(queues, timeout) do |limit, error|
        Library.pgentra_credential_get_token(handle, struct, limit, token, expires_on, error)
      end
      kept.clear
      AccessToken.new(Library.take(token), expires_on: expires_on.read_int64)
    end

    # The custom credentials of this one.
    def queues # :nodoc:
      @queues ||= [].tap { |found| describe(found) }
    end

    # The document of docs/config.schema.json. Custom credentials are added to the list.
    def describe(queues) # :nodoc:
      place(@document, queues)
    end

    # Opens the credential, once.
    def open(environment) # :nodoc:
      @lock.synchronize do
        @handle ||= begin
          members = FFI::MemoryPointer.new(:pointer, [queues.size, 1].max)
          members.write_array_of_pointer(queues.map(&:handle)) unless queues.empty?
          config = { "credential" => describe([]) }
          config["environment"] = environment unless environment.nil?
          handle = Library.output
          error = Library.output
          status = Library.pgentra_credential_open(Library.encode(config), members, queues.size, handle, error)
          raise Library.error(error) unless status == Library::OK

          opened = handle.read_pointer
          ObjectSpace.define_finalizer(self, CustomQueue.closer(opened))
          opened
        end
      end
    end

    def inspect
      "#<#{self.class.name}>"
    end
    alias to_s inspect

    def pretty_print(printer)
      printer.text(inspect)
    end

    def marshal_dump
      raise TypeError, "#{self.class.name} contains a secret and cannot be dumped"
    end

    def as_json(*)
      { "type" => self.class.name }
    end

    def to_json(*arguments)
      as_json.to_json(*arguments)
    end

    private

    def place(value, queues)
      case value
      when Credential then value.describe(queues)
      when Hash then value.transform_values { |member| place(member, queues) }
      when Array then value.map { |member| place(member, queues) }
      else value
      end
    end
  end

  # A credential by its document (docs/config.schema.json), as configuration files contain it: { type: "managed_identity" }.
  class DocumentCredential < Credential
    def initialize(document)
      super(document.transform_keys(&:to_s))
    end
  end

  # A credential of the application: an object with `call` that takes a TokenRequest and returns an AccessToken. It is called on a
  # thread of its own. `name` is for errors, logs and statistics.
  class CustomCredential < Credential
    def initialize(function = nil, name: nil, &block)
      super({})
      @queue = CustomQueue.new(name || "custom credential", function || block)
    end

    def describe(queues) # :nodoc:
      index = queues.index(@queue)
      if index.nil?
        index = queues.size
        queues << @queue
      end
      { "type" => "custom_credential", "index" => index }
    end
  end
end
