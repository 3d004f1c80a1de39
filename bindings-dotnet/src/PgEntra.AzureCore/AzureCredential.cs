using System.Runtime.CompilerServices;
using Azure.Core;
using PgEntra.Identity;

namespace PgEntra.AzureCore;

/// <summary>A credential object of the Azure SDK. Its cached tokens live as long as the object.</summary>
internal sealed class AzureCredential : PgEntraCredential
{
    private static readonly ConditionalWeakTable<TokenCredential, AzureCredential> Instances = [];

    private AzureCredential(TokenCredential credential)
        : base(new(CredentialDocument.Custom(new Adapter(credential))))
    {
    }

    /// <summary>Returns the source of a credential. PgEntra's own credentials are identified by their settings, others by the object.</summary>
    internal static CredentialSource SourceOf(TokenCredential credential) =>
        credential is PgEntraTokenCredential own ? own.Source : Of(credential).Source;

    internal static AzureCredential Of(TokenCredential credential) =>
        Instances.GetValue(credential, static credential => new(credential));

    private sealed class Adapter(TokenCredential credential) : CustomCredential
    {
        internal override string Name { get; } = credential.GetType().Name;

        internal override bool RethrowsOwnExceptions => true;

        internal override PgEntra.Identity.AccessToken GetToken(TokenRequest request) =>
            Convert(credential.GetToken(Convert(request), default));

        internal override async ValueTask<PgEntra.Identity.AccessToken> GetTokenAsync(TokenRequest request) =>
            Convert(await credential.GetTokenAsync(Convert(request), default).ConfigureAwait(false));

        private static TokenRequestContext Convert(TokenRequest request) => new(
            [request.Scope], claims: request.Claims, tenantId: request.TenantId, isCaeEnabled: request.IsCaeEnabled);

        private static PgEntra.Identity.AccessToken Convert(Azure.Core.AccessToken token) =>
            new(token.Token, token.ExpiresOn, token.RefreshOn);
    }
}

/// <summary>PgEntra's own credential in a <see cref="PgEntraTokenCredential"/>.</summary>
internal sealed class OwnCredential(PgEntraTokenCredential credential) : PgEntraCredential(credential.Source);
