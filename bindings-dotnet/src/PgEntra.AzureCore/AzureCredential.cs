using System.Runtime.CompilerServices;
using Azure.Core;
using PgEntra.Identity;

namespace PgEntra.AzureCore;

/// <summary>A credential object of the Azure SDK. Its cached tokens live as long as the object.</summary>
internal sealed class AzureCredential : PgEntraCredential
{
    private static readonly ConditionalWeakTable<TokenCredential, AzureCredential> Known = [];

    private AzureCredential(TokenCredential credential)
        : base(new(CredentialDocument.Host(new Foreign(credential))))
    {
    }

    /// <summary>What a credential stands for: ours their settings, any other itself.</summary>
    internal static CredentialSource SourceOf(TokenCredential credential) =>
        credential is PgEntraTokenCredential own ? own.Source : Of(credential).Source;

    internal static AzureCredential Of(TokenCredential credential) =>
        Known.GetValue(credential, static credential => new(credential));

    private sealed class Foreign(TokenCredential credential) : ForeignCredential
    {
        internal override string Name { get; } = credential.GetType().Name;

        internal override bool PassesFailuresOn => true;

        internal override PgEntra.Identity.AccessToken GetToken(TokenRequest request) =>
            Converted(credential.GetToken(Converted(request), default));

        internal override async ValueTask<PgEntra.Identity.AccessToken> GetTokenAsync(TokenRequest request) =>
            Converted(await credential.GetTokenAsync(Converted(request), default).ConfigureAwait(false));

        private static TokenRequestContext Converted(TokenRequest request) => new(
            [request.Scope], claims: request.Claims, tenantId: request.TenantId, isCaeEnabled: request.IsCaeEnabled);

        private static PgEntra.Identity.AccessToken Converted(Azure.Core.AccessToken token) =>
            new(token.Token, token.ExpiresOn, token.RefreshOn);
    }
}

/// <summary>A credential of ours that stands behind <see cref="PgEntraTokenCredential"/>.</summary>
internal sealed class OwnCredential(PgEntraTokenCredential credential) : PgEntraCredential(credential.Source);
