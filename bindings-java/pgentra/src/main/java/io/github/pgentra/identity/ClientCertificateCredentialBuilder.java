package io.github.pgentra.identity;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Builds a {@link ClientCertificateCredential}, as azure-identity's builder of this name. */
public final class ClientCertificateCredentialBuilder {
    private final Map<String, Object> document = new LinkedHashMap<>();

    /** The tenant's id or domain name. */
    public ClientCertificateCredentialBuilder tenantId(String value) {
        document.put("tenant_id", value);
        return this;
    }

    /** The application's client id. */
    public ClientCertificateCredentialBuilder clientId(String value) {
        document.put("client_id", value);
        return this;
    }

    /** A PEM file with key and certificate. */
    public ClientCertificateCredentialBuilder pemCertificate(String value) {
        document.put("certificate_path", value);
        return this;
    }

    /** A PFX file. */
    public ClientCertificateCredentialBuilder pfxCertificate(String value) {
        document.put("certificate_path", value);
        return this;
    }

    /** The path of the certificate and its key in a PFX file, and the file's password. */
    public ClientCertificateCredentialBuilder pfxCertificate(String path, String password) {
        return pfxCertificate(path).clientCertificatePassword(password);
    }

    /** The password of the file. */
    public ClientCertificateCredentialBuilder clientCertificatePassword(String value) {
        document.put("certificate_password", value);
        return this;
    }

    /** Whether the certificate is sent, for registrations by subject name. */
    public ClientCertificateCredentialBuilder sendCertificateChain(boolean value) {
        document.put("send_certificate_chain", value);
        return this;
    }

    /** The authority host, such as {@code https://login.microsoftonline.us}. Default: {@code AZURE_AUTHORITY_HOST}, then the cloud's. */
    public ClientCertificateCredentialBuilder authorityHost(String value) {
        document.put("authority_host", value);
        return this;
    }

    /** Tenants that a request may name besides the own one; {@code *}: any. */
    public ClientCertificateCredentialBuilder additionallyAllowedTenants(String... values) {
        document.put("additionally_allowed_tenants", List.of(values));
        return this;
    }

    /** Tenants that a request may name besides the own one; {@code *}: any. */
    public ClientCertificateCredentialBuilder additionallyAllowedTenants(List<String> values) {
        document.put("additionally_allowed_tenants", List.copyOf(values));
        return this;
    }

    /** Accepted and without effect: the engine sends no instance discovery. */
    public ClientCertificateCredentialBuilder disableInstanceDiscovery() {
        return this;
    }

    /** Builds the credential. Its settings are checked when it is first used. */
    public ClientCertificateCredential build() {
        return new ClientCertificateCredential(document, null);
    }
}
