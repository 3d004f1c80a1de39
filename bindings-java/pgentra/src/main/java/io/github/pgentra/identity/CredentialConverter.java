package io.github.pgentra.identity;

/**
 * Converts credential objects of another library. A provider of this interface is found by {@link java.util.ServiceLoader};
 * {@code pgentra-azure} has one for azure-core's {@code TokenCredential}.
 */
public interface CredentialConverter {
    /**
     * Returns a credential that requests its tokens from an object.
     *
     * @param credential the object
     * @return the credential; null: the object is of another type
     */
    Credential convert(Object credential);
}
