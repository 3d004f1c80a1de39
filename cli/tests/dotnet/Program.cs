// Prints the first letters of the tokens of two credentials; with a connection string, the role of a connection.

using Azure.Core;
using Azure.Identity;
using Npgsql;

if (args[0].StartsWith("Host="))
{
    await using var source = NpgsqlDataSource.Create(args[0]);
    await using var command = source.CreateCommand("select current_user::text");
    Console.WriteLine(await command.ExecuteScalarAsync());
    return;
}

var request = new TokenRequestContext([args[0]]);
TokenCredential[] credentials = [new ManagedIdentityCredential(ManagedIdentityId.SystemAssigned), new DefaultAzureCredential()];
foreach (var credential in credentials)
{
    Console.WriteLine((await credential.GetTokenAsync(request, default)).Token[..2]);
}
