package io.github.pgentra.identity;

/** The authority hosts of Azure's clouds, with the names of azure-identity. */
public final class AzureAuthorityHosts {
    /** The public cloud. */
    public static final String AZURE_PUBLIC_CLOUD = "https://login.microsoftonline.com/";

    /** Azure China. */
    public static final String AZURE_CHINA = "https://login.chinacloudapi.cn/";

    /** Azure Government. */
    public static final String AZURE_GOVERNMENT = "https://login.microsoftonline.us/";

    private AzureAuthorityHosts() {}
}
