<?php

declare(strict_types=1);

namespace PgEntra;

/** What a token is requested for. */
final class TokenRequest
{
    /**
     * @param string $scope such as https://ossrdbms-aad.database.windows.net/.default
     * @param string|null $tenantId a tenant in place of the credential's own
     * @param string|null $claims a claims challenge (JSON)
     * @param bool $enableCae whether the token may be revoked by a claims challenge
     */
    public function __construct(
        public readonly string $scope,
        public readonly ?string $tenantId = null,
        public readonly ?string $claims = null,
        public readonly bool $enableCae = false,
    ) {
    }
}
