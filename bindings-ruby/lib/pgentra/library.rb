# frozen_string_literal: true

require "ffi"
require "rbconfig"

module Pgentra
  # libpgentra, by the functions of pgentra.h that this gem uses.
  module Library # :nodoc:
    extend FFI::Library

    ABI_VERSION = 1
    OK = 0
    TIMEOUT = 8
    CREDENTIAL_VALUE = 14
    INVALID_CONFIGURATION = 15
    INVALID_CONNECTION = 16
    WOULD_DEADLOCK = 18

    # A request for a token: pgentra_token_request.
    class TokenRequestStruct < FFI::Struct
      layout :size, :size_t, :scope, :pointer, :tenant_id, :pointer, :claims, :pointer, :enable_cae, :bool
    end

    # The file of PGENTRA_LIBRARY, else that of a platform gem, else what the system's linker finds.
    def self.files
      chosen = ENV["PGENTRA_LIBRARY"]
      return [chosen] unless chosen.nil? || chosen.empty?

      system = RbConfig::CONFIG["host_os"]
      name = case system
             when /mswin|mingw/ then "pgentra.dll"
             when /darwin/ then "libpgentra.1.dylib"
             else "libpgentra.so.1"
             end
      [File.join(__dir__, "native", name), name].select { |file| file == name || File.file?(file) }
    end

    begin
      ffi_lib files
    rescue LoadError => e
      raise LoadError, "libpgentra cannot be loaded: #{e.message.lines.first&.strip}. Install libpgentra for " \
                       "#{RUBY_PLATFORM}, or set the environment variable PGENTRA_LIBRARY to its file."
    end

    text = :pointer
    out = :pointer
    attach_function :pgentra_version, [], :string
    attach_function :pgentra_abi_version, [], :uint32
    attach_function :pgentra_stats, [out, out], :int32
    attach_function :pgentra_string_free, [text], :void
    attach_function :pgentra_set_log_queue, %i[int32 pointer], :int32
    attach_function :pgentra_log_next, [out, out, out, out], :int32
    attach_function :pgentra_error_message, [:pointer], :string
    attach_function :pgentra_error_detail_json, [:pointer], :string
    attach_function :pgentra_error_cause, [:pointer], :pointer
    attach_function :pgentra_error_free, [:pointer], :void
    attach_function :pgentra_error_new, %i[int32 string string string pointer], :int32
    attach_function :pgentra_provider_open, [:string, out, out], :int32
    attach_function :pgentra_provider_open_with, [:string, :pointer, out, out], :int32
    attach_function :pgentra_provider_close, [:pointer], :void
    # The functions that wait release the lock of the interpreter.
    attach_function :pgentra_provider_get, [:pointer, :int32, out, out, out], :int32, blocking: true
    attach_function :pgentra_provider_login, [:pointer, :int32, out, out, out, out, out], :int32, blocking: true
    attach_function :pgentra_provider_try_login, [:pointer, out, out, out, out, out, out], :int32
    attach_function :pgentra_provider_invalidate, [:pointer, :string, :int32, out, out], :int32, blocking: true
    attach_function :pgentra_provider_stats, [:pointer, out, out], :int32
    attach_function :pgentra_credential_open, [:string, :pointer, :size_t, out, out], :int32
    attach_function :pgentra_credential_queue, [:string, out, out], :int32
    attach_function :pgentra_credential_close, [:pointer], :void
    attach_function :pgentra_credential_get_token, [:pointer, :pointer, :int32, out, out, out], :int32, blocking: true
    attach_function :pgentra_request_next, [:pointer, :int32, out, out, out], :int32, blocking: true
    attach_function :pgentra_request_respond, [:pointer, :string, :int64, :int64, out], :int32
    attach_function :pgentra_request_fail, [:pointer, :string, :string, :bool, :pointer, :pointer, out], :int32
    attach_function :pgentra_connection_read, [:string, :string, out, out], :int32
    attach_function :pgentra_connection_plan, [:string, out, out], :int32
    attach_function :pgentra_decode_jwt, [:string, out, out], :int32
    attach_function :pgentra_describe_token, [:string, out, out], :int32
    attach_function :pgentra_parse_principal_name, [:string, out, out], :int32
    attach_function :pgentra_resolve_cloud, [:string, :string, :string, :string, :string, out, out], :int32
    attach_function :pgentra_login_error_cause, %i[string string], :string
    attach_function :pgentra_login_error_is_retriable, %i[string string], :bool
    attach_function :pgentra_login_error_explain, [:string, :string, :string, :string, :string, :string, :string, out, out], :int32

    unless pgentra_abi_version == ABI_VERSION
      raise LoadError, "libpgentra has version #{pgentra_abi_version} of the C interface; this gem needs #{ABI_VERSION}"
    end

    # An output of a function.
    def self.output
      FFI::MemoryPointer.new(:pointer)
    end

    # Reads the C string of an output, or nil, and frees it.
    def self.take(output)
      pointer = output.read_pointer
      return nil if pointer.null?

      text = pointer.read_string.force_encoding(Encoding::UTF_8)
      pgentra_string_free(pointer)
      output.write_pointer(nil)
      text
    end

    # Calls a function whose last arguments are one string output and the error.
    def self.text(function, *arguments)
      result = output
      error = output
      raise error(error) unless public_send(function, *arguments.map { |value| check(value) }, result, error) == OK

      take(result)
    end

    # As `text`, for a JSON document.
    def self.document(function, *arguments)
      json = text(function, *arguments)
      json.nil? ? nil : JSON.parse(json)
    end

    # Returns a text for C, which ends at its first NUL.
    def self.check(value)
      return value unless value.is_a?(String) && value.include?("\0")

      raise new_error(INVALID_CONFIGURATION, "a text contains a NUL character", "Remove it.")
    end

    def self.encode(document)
      JSON.generate(document)
    rescue JSON::GeneratorError, EncodingError
      # The message could contain a value.
      raise new_error(INVALID_CONFIGURATION, "an option cannot be written as JSON", "Pass texts in UTF-8, numbers and booleans.")
    end

    # Returns the exception for the error of an output, and frees it.
    def self.error(output)
      pointer = output.read_pointer
      detail = JSON.parse(utf8(pgentra_error_detail_json(pointer)))
      message = utf8(pgentra_error_message(pointer))
      cause = CustomQueue.cause(pgentra_error_cause(pointer).address)
      pgentra_error_free(pointer)
      output.write_pointer(nil)
      Logging.pass
      create(message, detail, cause)
    end

    def self.utf8(text)
      text.dup.force_encoding(Encoding::UTF_8)
    end

    def self.create(message, detail, cause)
      name = detail["error_class"].to_s
      found = Pgentra.const_defined?(name, false) ? Pgentra.const_get(name, false) : Error if name.match?(/\A[A-Z]\w*\z/)
      klass = found.is_a?(Class) && found <= Error ? found : Error
      begin
        raise klass.new(message, detail), cause: cause
      rescue Error => e
        e.set_backtrace(caller)
        e
      end
    end

    def self.new_error(kind, message, advice)
      error = output
      pgentra_error_new(kind, message, advice, nil, error)
      error(error)
    end
  end
end
