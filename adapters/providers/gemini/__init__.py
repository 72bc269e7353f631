"""Google's Gemini models that paint, over the SDK `google-genai` (extra `google`)."""
