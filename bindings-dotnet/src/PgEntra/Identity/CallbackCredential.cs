namespace PgEntra.Identity;

/// <summary>A token from code of the program's own.</summary>
/// <remarks>Tokens are cached with the object, and the code is asked when a fetch is due.</remarks>
public sealed class CallbackCredential : PgEntraCredential
{
    /// <param name="getToken">Gives a token; asked on a thread of the thread pool, or of its own while somebody blocks.</param>
    public CallbackCredential(Func<TokenRequest, AccessToken> getToken)
        : this(new Callback(getToken ?? throw new ArgumentNullException(nameof(getToken)), null, takesScope: true))
    {
    }

    /// <param name="getToken">Gives a token, asynchronously.</param>
    public CallbackCredential(Func<TokenRequest, CancellationToken, ValueTask<AccessToken>> getToken)
        : this(new Callback(null, getToken ?? throw new ArgumentNullException(nameof(getToken)), takesScope: true))
    {
    }

    /// <param name="getToken">Gives a token for the database, whatever the scope: no management token is asked for.</param>
    public CallbackCredential(Func<AccessToken> getToken)
        : this(new Callback(Ignoring(getToken), null, takesScope: false))
    {
    }

    private CallbackCredential(Callback callback)
        : base(new(CredentialDocument.Host(callback)))
    {
    }

    private static Func<TokenRequest, AccessToken> Ignoring(Func<AccessToken> getToken)
    {
        ArgumentNullException.ThrowIfNull(getToken);
        return _ => getToken();
    }

    private sealed class Callback(
        Func<TokenRequest, AccessToken>? getToken,
        Func<TokenRequest, CancellationToken, ValueTask<AccessToken>>? getTokenAsync,
        bool takesScope) : ForeignCredential
    {
        internal override string Name => nameof(CallbackCredential);

        internal override bool TakesScope => takesScope;

        internal override bool IsSynchronous => getToken is not null;

        internal override AccessToken GetToken(TokenRequest request) => getToken!(request);

        internal override ValueTask<AccessToken> GetTokenAsync(TokenRequest request) =>
            getTokenAsync is null ? new(getToken!(request)) : getTokenAsync(request, default);
    }
}
