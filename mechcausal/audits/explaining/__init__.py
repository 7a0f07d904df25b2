"""Questions about explanations: are circuits and attributions faithful, and do they predict interventions?"""
