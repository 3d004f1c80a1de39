import js from '@eslint/js'
import globals from 'globals'

export default [
    { ignores: ['**/node_modules/', '**/*.d.ts', '**/*.d.mts', '**/tests/types/'] },
    js.configs.recommended,
    {
        languageOptions: { ecmaVersion: 2022, globals: globals.node },
        linterOptions: { reportUnusedDisableDirectives: 'error' },
        rules: {
            'array-callback-return': 'error',
            eqeqeq: 'error',
            'no-await-in-loop': 'off',
            'no-constructor-return': 'error',
            'no-promise-executor-return': 'off',
            'no-self-compare': 'error',
            'no-unused-vars': ['error', { varsIgnorePattern: '^_+$', argsIgnorePattern: '^_+$' }],
            'no-var': 'error',
            'object-shorthand': 'error',
            'prefer-const': 'error',
            'require-atomic-updates': 'off',
            strict: ['error', 'global'],
        },
    },
    { files: ['**/*.js'], ignores: ['**/examples/**'], languageOptions: { sourceType: 'commonjs' } },
]
