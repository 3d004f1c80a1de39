using PgEntra.Identity;

namespace PgEntra;

/// <summary>What somebody asserts of an application, from code of the program's own: in the engine's eyes a token.</summary>
internal sealed class Assertion : ForeignCredential
{
    private readonly Func<string>? callback;
    private readonly Func<CancellationToken, Task<string>>? callbackAsync;

    internal Assertion(Func<string> callback) =>
        this.callback = callback ?? throw new ArgumentNullException(nameof(callback));

    internal Assertion(Func<CancellationToken, Task<string>> callback) =>
        callbackAsync = callback ?? throw new ArgumentNullException(nameof(callback));

    internal override string Name => "assertion callback";

    internal override bool IsSynchronous => callback is not null;

    internal override AccessToken GetToken(TokenRequest request) => Token(callback!());

    internal override async ValueTask<AccessToken> GetTokenAsync(TokenRequest request) =>
        Token(callbackAsync is null ? callback!() : await callbackAsync(default).ConfigureAwait(false));

    private static AccessToken Token(string assertion) => new(assertion, default);
}
