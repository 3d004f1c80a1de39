<?php

declare(strict_types=1);

namespace PgEntra\Identity;

/** A credential by its document (docs/config.schema.json), as configuration files contain it: ['type' => 'managed_identity']. */
final class DocumentCredential extends Credential
{
    /** @param array<string, mixed> $document */
    public function __construct(#[\SensitiveParameter] array $document)
    {
        $type = $document['type'] ?? null;
        unset($document['type']);
        parent::__construct(is_string($type) ? $type : '', $document, []);
    }
}
