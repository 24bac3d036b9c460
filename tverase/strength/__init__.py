"""How strong the edit is: the smallest strength at which every input fails to recover the concept."""
