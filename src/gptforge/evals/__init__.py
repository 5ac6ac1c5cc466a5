"""How good a model is; knows neither training nor where models come from."""
