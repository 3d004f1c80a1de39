# frozen_string_literal: true

module Pgentra
  # The credentials of azure-identity. All of them except chains accept these further keywords: authority_host, cloud,
  # additionally_allowed_tenants (list), disable_instance_discovery, and retry (a Hash with max_retries, delay and max_delay, in
  # seconds). An unknown keyword is an error when the credential is used.
  module Identity
    # Builds the document of a credential from its keywords.
    class Described < Credential # :nodoc:
      def initialize(type, **keywords)
        document = { "type" => type }
        keywords.each do |name, value|
          next if value.nil?

          document[name.to_s] = case name
                                when :get_assertion then assertion(value)
                                when :certificate then certificate(value)
                                else value
                                end
        end
        super(document)
      end

      private

      def assertion(value)
        value.is_a?(Credential) ? value : CustomCredential.new(->(_request) { value.call }, name: "get_assertion")
      end

      # PEM as it is, other files in base64.
      def certificate(content)
        content.include?("-----BEGIN") ? content : [content].pack("m0")
      end
    end

    # The default chain: environment, workload identity, managed identity, developer tools.
    class DefaultAzureCredential < Described
      def initialize(**keywords)
        super("default", **keywords)
      end
    end

    # A service principal from AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET or AZURE_CLIENT_CERTIFICATE_PATH.
    class EnvironmentCredential < Described
      def initialize(**keywords)
        super("environment", **keywords)
      end
    end

    # A workload identity with a federated token in a file (Kubernetes): tenant_id, client_id, token_file_path,
    # enable_azure_proxy.
    class WorkloadIdentityCredential < Described
      def initialize(**keywords)
        super("workload_identity", **keywords)
      end
    end

    # A managed identity: the system-assigned one, or by client_id, object_id or resource_id.
    class ManagedIdentityCredential < Described
      def initialize(**keywords)
        super("managed_identity", **keywords)
      end
    end

    # The account of the Azure CLI (az login): tenant_id, subscription, process_timeout (seconds, 10).
    class AzureCliCredential < Described
      def initialize(**keywords)
        super("azure_cli", **keywords)
      end
    end

    # The account of Azure PowerShell (Connect-AzAccount): tenant_id, process_timeout (seconds, 10).
    class AzurePowerShellCredential < Described
      def initialize(**keywords)
        super("azure_powershell", **keywords)
      end
    end

    # The account of the Azure Developer CLI (azd auth login): tenant_id, process_timeout (seconds, 10).
    class AzureDeveloperCliCredential < Described
      def initialize(**keywords)
        super("azure_developer_cli", **keywords)
      end
    end

    # A service connection of Azure Pipelines. Further: organization_url.
    class AzurePipelinesCredential < Described
      def initialize(tenant_id:, client_id:, service_connection_id:, system_access_token:, **keywords)
        super("azure_pipelines", tenant_id: tenant_id, client_id: client_id,
                                 service_connection_id: service_connection_id, system_access_token: system_access_token, **keywords)
      end
    end

    # A service principal with a client secret.
    class ClientSecretCredential < Described
      def initialize(tenant_id:, client_id:, client_secret:, **keywords)
        super("client_secret", tenant_id: tenant_id, client_id: client_id, client_secret: client_secret, **keywords)
      end
    end

    # A service principal with a certificate, PEM with the key or PFX: certificate_path or certificate (the content of a
    # file); certificate_password, send_certificate_chain.
    class ClientCertificateCredential < Described
      def initialize(tenant_id:, client_id:, **keywords)
        super("client_certificate", tenant_id: tenant_id, client_id: client_id, **keywords)
      end
    end

    # A service principal with an assertion: get_assertion is an object with `call`, or a credential whose token it is.
    class ClientAssertionCredential < Described
      def initialize(tenant_id:, client_id:, get_assertion:, **keywords)
        super("client_assertion", tenant_id: tenant_id, client_id: client_id, get_assertion: get_assertion, **keywords)
      end
    end

    # An application that acts on behalf of a user. Further: client_secret, or a certificate or get_assertion as above.
    class OnBehalfOfCredential < Described
      def initialize(tenant_id:, client_id:, user_assertion_token:, **keywords)
        super("on_behalf_of", tenant_id: tenant_id, client_id: client_id, user_assertion_token: user_assertion_token, **keywords)
      end
    end

    # A given token. Further: expires_on (seconds since 1970).
    class StaticTokenCredential < Described
      def initialize(token:, **keywords)
        super("static_token", token: token, **keywords)
      end
    end

    # Credentials that are tried in order, until one is available. Later requests use only that one.
    class ChainedTokenCredential < Credential
      def initialize(*credentials)
        super({ "type" => "chained", "credentials" => credentials.map { |value| Credential.of(value) } })
      end
    end
  end
end
