package io.github.pgentra.identity;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Supplier;

/** Builds a {@link OnBehalfOfCredential}, as azure-identity's builder of this name. */
public final class OnBehalfOfCredentialBuilder {
    private final Map<String, Object> document = new LinkedHashMap<>();
    private AssertionCredential assertion;

    /** The tenant's id or domain name. */
    public OnBehalfOfCredentialBuilder tenantId(String value) {
        document.put("tenant_id", value);
        return this;
    }

    /** The application's client id. */
    public OnBehalfOfCredentialBuilder clientId(String value) {
        document.put("client_id", value);
        return this;
    }

    /** The application's secret. */
    public OnBehalfOfCredentialBuilder clientSecret(String value) {
        document.put("client_secret", value);
        return this;
    }

    /** A PEM file with key and certificate. */
    public OnBehalfOfCredentialBuilder pemCertificate(String value) {
        document.put("certificate_path", value);
        return this;
    }

    /** A PFX file. */
    public OnBehalfOfCredentialBuilder pfxCertificate(String value) {
        document.put("certificate_path", value);
        return this;
    }

    /** The path of the certificate and its key in a PFX file, and the file's password. */
    public OnBehalfOfCredentialBuilder pfxCertificate(String path, String password) {
        return pfxCertificate(path).clientCertificatePassword(password);
    }

    /** The password of the file. */
    public OnBehalfOfCredentialBuilder clientCertificatePassword(String value) {
        document.put("certificate_password", value);
        return this;
    }

    /** Whether the certificate is sent, for registrations by subject name. */
    public OnBehalfOfCredentialBuilder sendCertificateChain(boolean value) {
        document.put("send_certificate_chain", value);
        return this;
    }

    /** Returns the assertion. Called at each token request. */
    public OnBehalfOfCredentialBuilder clientAssertion(Supplier<String> value) {
        assertion = new AssertionCredential(value);
        return this;
    }

    /** The access token that the user sent. */
    public OnBehalfOfCredentialBuilder userAssertion(String value) {
        document.put("user_assertion_token", value);
        return this;
    }

    /** The authority host, such as {@code https://login.microsoftonline.us}. Default: {@code AZURE_AUTHORITY_HOST}, then the cloud's. */
    public OnBehalfOfCredentialBuilder authorityHost(String value) {
        document.put("authority_host", value);
        return this;
    }

    /** Tenants that a request may name besides the own one; {@code *}: any. */
    public OnBehalfOfCredentialBuilder additionallyAllowedTenants(String... values) {
        document.put("additionally_allowed_tenants", List.of(values));
        return this;
    }

    /** Tenants that a request may name besides the own one; {@code *}: any. */
    public OnBehalfOfCredentialBuilder additionallyAllowedTenants(List<String> values) {
        document.put("additionally_allowed_tenants", List.copyOf(values));
        return this;
    }

    /** Accepted and without effect: the engine sends no instance discovery. */
    public OnBehalfOfCredentialBuilder disableInstanceDiscovery() {
        return this;
    }

    /** Builds the credential. Its settings are checked when it is first used. */
    public OnBehalfOfCredential build() {
        return new OnBehalfOfCredential(document, assertion);
    }
}
